// Package frontend turns a Dockerfile and a request into build graphs, by BuildKit's own Dockerfile frontend run in process.
//
// It is the one place that knows BuildKit: everything that leaves it is of our
// own types. It drives BuildKit's conversion (frontend/dockerfile/dockerfile2llb
// over frontend/dockerui) itself, where BuildKit's builder.Build would do the
// same in goroutines of its own, out of which a panic would end the process.
// That also leaves no code that could forward a "# syntax=" line to an image.
package frontend

import (
	"context"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/graph"
)

// Request is what a user wants from a Dockerfile.
type Request struct {
	// Filename is the Dockerfile's name within the local source "dockerfile",
	// or within MainContext; "" is Dockerfile, then dockerfile.
	Filename string
	// Target is the name or index of a stage; "" is the last.
	Target string
	// BuildArgs and Labels are those of the command line.
	BuildArgs, Labels map[string]string
	// Platforms are those to build for; none is the host's, or that of a base
	// image which has only one.
	Platforms []ocispecs.Platform
	// BuildPlatform is what we run on; nil is the host's.
	BuildPlatform *ocispecs.Platform
	// NoCache marks every vertex, NoCacheFilter those of the stages named.
	NoCache       bool
	NoCacheFilter []string
	// Contexts are named contexts: "docker-image://REF", a git or http URL,
	// "oci-layout://NAME@DIGEST" or "local:NAME". A name may end in "::PLATFORM".
	Contexts map[string]string
	// MainContext is "" for the local source "context", else a git or http URL.
	// The Dockerfile then comes from there too, unless Opts has "dockerfilekey".
	MainContext string
	// AddHosts are "name=ip" or "name:ip", Ulimits "name=soft[:hard]".
	AddHosts, Ulimits []string
	// ShmSize is the size of /dev/shm in bytes, 0 the kernel's choice.
	ShmSize int64
	// Network is that of RUN steps: "", "default", "none" or "host".
	Network                string
	Hostname, CgroupParent string
	// Opts are more of BuildKit's options, given on as they are; an option that
	// nothing reads is an error.
	Opts map[string]string
	// SourceDateEpoch counts where BuildArgs has no SOURCE_DATE_EPOCH.
	SourceDateEpoch *time.Time
}

// Engine is what the frontend asks of the rest while it works. Its methods are
// called from several goroutines at once, and their errors come back wrapped.
type Engine interface {
	// ImageConfig resolves an image. What it answered is not asked again in a build.
	ImageConfig(ctx context.Context, q ImageQuery) (*Image, error)
	// Open carries out g and gives its files to read: a Dockerfile, an ignore
	// file, a downloaded context. Only what the source's local.followpaths name
	// is read of a local source. What Open returns may be an io.Closer, and is
	// then closed before Build returns.
	Open(ctx context.Context, g *graph.Graph) (fs.FS, error)
	// SourceTime says when a git or http source was made: the committer's time
	// of the commit, or Last-Modified; nil when nobody knows.
	SourceTime(ctx context.Context, src *graph.Source) (*time.Time, error)
}

// ImageQuery asks for an image.
type ImageQuery struct {
	// Ref is a full reference, "docker.io/library/alpine:3".
	Ref string
	// Platform is the one wanted, nil the host's.
	Platform *ocispecs.Platform
	// Mode is BuildKit's image-resolve-mode: "", "default", "pull" or "local".
	Mode string
	// Layout is the name of the OCI layout that has the image, "" a registry.
	Layout string
}

// Image is the answer to an ImageQuery.
type Image struct {
	// Ref is the reference to go on with; "" is the one asked for.
	Ref string
	// Digest is that of what the reference names: of the index, if it is one.
	Digest digest.Digest
	// Config is the platform's image config, byte for byte.
	Config []byte
}

// Result is what a Dockerfile came to.
type Result struct {
	// Platforms come in the order asked.
	Platforms []PlatformResult
	// MultiPlatform asks for an index, even around a single platform.
	MultiPlatform bool
	Warnings      []Warning
	// Epoch is the latest of the platforms' SOURCE_DATE_EPOCH; nil when unset.
	Epoch *time.Time
	// Dockerfile is the file as it was read.
	Dockerfile *graph.SourceFile
}

// PlatformResult is the build of one platform.
type PlatformResult struct {
	Platform ocispecs.Platform
	// Graph shares its vertices with those of the other platforms where they
	// are the same. Its root is the zero Edge for an image without layers.
	Graph *graph.Graph
	// Config is the finished image config but for diff IDs and times of the new
	// layers; BaseConfig is that of the last FROM, nil for scratch.
	Config, BaseConfig []byte
	Epoch              *time.Time
}

// Build reads the Dockerfile and converts it. Each warning goes to warn at
// once, if that is not nil, and into the result. What is wrong with the Dockerfile
// or arises at one of its lines comes as an *Error.
func Build(ctx context.Context, req Request, e Engine, warn func(Warning)) (*Result, error) {
	s, err := open(ctx, req, e, warn)
	if err != nil {
		return nil, err
	}
	defer s.close()

	s.warnSyntax(req.BuildArgs["BUILDKIT_SYNTAX"])
	conversions, err := s.convert(ctx)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	if s.gateway.ignored != nil {
		return nil, s.gateway.ignored
	}
	res := &Result{MultiPlatform: s.ui.MultiPlatformRequested, Dockerfile: s.file, Warnings: s.warnings}
	dec := newDecoder(s.file)
	dec.secrets = attest.Redact(req.BuildArgs)
	for _, c := range conversions {
		p, err := c.result(dec)
		if err != nil {
			return nil, err
		}
		if p.Epoch != nil && (res.Epoch == nil || p.Epoch.After(*res.Epoch)) {
			res.Epoch = p.Epoch
		}
		res.Platforms = append(res.Platforms, *p)
	}
	return res, nil
}
