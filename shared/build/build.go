// Package build is the operation of the executor: a Dockerfile and its context to an image, exported while it is made.
package build

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rs/zerolog"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/export"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/solve"
	"github.com/strake-build/strake/shared/tree"
)

// ErrNoContext is a build context or Dockerfile that is not there.
var ErrNoContext = errors.New("not found")

// EnvironmentError is something that this machine or container does not allow.
type EnvironmentError struct{ Err error }

func (e *EnvironmentError) Error() string { return e.Err.Error() }
func (e *EnvironmentError) Unwrap() error { return e.Err }

// Request is what a user wants built.
type Request struct {
	// Context is the directory of the build context.
	Context string
	// Source fetches the build context, where it is not the directory Context.
	Source buildcontext.Source
	// Dockerfile is the Dockerfile's path.
	Dockerfile string
	// DockerfileSource fetches the Dockerfile, where it is not at a path.
	DockerfileSource buildcontext.Source
	// Frontend is the request to the frontend; its file name and local contexts
	// are filled in from here.
	Frontend frontend.Request
	// Locals are the directories of named contexts, by the name that
	// Frontend.Contexts gives them; Layouts are those of OCI layouts.
	Locals, Layouts map[string]string

	// Dir is the builder's own directory.
	Dir       string
	Isolation Isolation
	Allow     run.Entitlements
	Secrets   run.Secrets
	SSH       run.Agents
	// ContextSSH are agents for the context alone, asked before SSH.
	ContextSSH run.Agents
	// IgnorePaths never enter a layer.
	IgnorePaths []string

	Format         image.Format
	Pack           layer.PackOptions
	Annotations    Annotations
	SingleSnapshot bool
	Reproducible   bool
	Epoch          *time.Time

	// Also are stages that are built besides, and of which nothing is kept.
	Also []string
	// SnapshotTimeout is how long looking for a step's changes may take; 0 is as
	// long as it takes.
	SnapshotTimeout time.Duration

	// Remote are the addresses that Source and DockerfileSource fetch from, where that
	// is not this machine; without secrets.
	Remote []string

	Cache       Cache
	CacheMounts CacheMounts

	Attestations Attestations
}

// Annotations are those of image manifests and of the index.
type Annotations struct{ Manifest, Index map[string]string }

// Builder builds. Its parts are set once.
type Builder struct {
	Registry *registry.Client
	// Images, where set, finds base images in Registry's stead.
	Images op.Resolver
	// Offline fetches nothing, but for images that Images has. All that is missing
	// is one *warmed.MissingError.
	Offline bool
	// Kept, where set, has layers of base images unpacked already.
	Kept     tree.Kept
	Progress solve.Progress
	Warn     func(frontend.Warning)
	// Planned, where set, is told what will be done before anything is.
	Planned func(Plan)
	// Layer, where set, is given each layer of the result as soon as it is
	// written, while the build goes on.
	Layer func(ctx context.Context, b *layer.Blob) error
	Now   func() time.Time
	// Reaper collects what steps leave behind; there is one in a process. It may
	// be nil where nothing in the process runs but in an overlay.
	Reaper *sandbox.Reaper
}

// Result is what was built. It can be read until Close.
type Result struct {
	// Artifact is a v1.Image, or a v1.ImageIndex for several platforms.
	Artifact export.Artifact
	Images   []v1.Image
	Warnings []frontend.Warning
	// Attested has, for each of Images, what is told of it; none where nothing was asked for.
	Attested []Attested

	close func() error
}

// Close waits until the results of steps are in the cache, removes the build's
// files, and gives the builder's root to the next
// build where steps ran in place.
func (r *Result) Close() error { return r.close() }

// Run builds. The result is to be closed.
func (b *Builder) Run(ctx context.Context, req Request) (_ *Result, err error) {
	started := b.Now()
	e, err := b.engine(ctx, req)
	if err != nil {
		return nil, err
	}
	var res *frontend.Result
	defer func() {
		if err != nil {
			e.settleCache(ctx, res)
			err = errors.Join(err, e.close())
		}
	}()
	res, err = frontend.Build(ctx, e.req.Frontend, e, b.Warn)
	if err != nil {
		return nil, e.allMissing(ctx, err)
	}
	if b.Planned != nil {
		b.Planned(plan(res))
	}
	if !e.req.Cache.used() { // else what is found there needs nothing
		if err := e.nothingFetched(ctx, res); err != nil {
			return nil, err
		}
	}
	if err := e.ahead(ctx, res.Platforms); err != nil {
		return nil, err
	}
	if err := e.prepareAll(ctx, res.Platforms); err != nil {
		return nil, err
	}
	epoch := e.clamp(res.Epoch)
	e.remember(ctx, epoch, res.Platforms)
	trees, err := e.solve(ctx, res.Platforms)
	if err != nil {
		return nil, e.allMissing(ctx, err)
	}
	if err := e.also(ctx); err != nil {
		return nil, err
	}
	out := &Result{Warnings: res.Warnings, close: func() error {
		e.settleCache(ctx, res)
		return e.close()
	}}
	now := b.Now()
	var parts []image.Platformed
	for i, p := range res.Platforms {
		img, err := e.image(ctx, trees[i], p, epoch, now)
		if err != nil {
			return nil, err
		}
		parts = append(parts, image.Platformed{Image: img, Platform: platformOf(p.Platform)})
		out.Images = append(out.Images, img)
		if !req.Attestations.wanted() {
			continue
		}
		a, err := e.attest(ctx, img, trees[i], res, p, epoch, started)
		if err != nil {
			return nil, err
		}
		out.Attested = append(out.Attested, *a)
	}
	out.Artifact = parts[0].Image
	switch {
	case req.Attestations.Index && len(out.Attested) > 0:
		out.Artifact, err = together(parts, out.Attested, req.Format, req.Annotations.Index)
	case res.MultiPlatform:
		out.Artifact, err = image.Index(parts, req.Format, req.Annotations.Index)
	}
	if err != nil {
		return nil, err
	}
	return out, e.materialize(ctx, trees)
}

// clamp makes the build's times the same at any time, where that is asked for.
func (e *engine) clamp(epoch *time.Time) *time.Time {
	if e.req.Epoch != nil {
		epoch = e.req.Epoch
	}
	if epoch == nil && e.req.Reproducible {
		zero := time.Unix(0, 0).UTC()
		epoch = &zero
	}
	if epoch != nil {
		e.workspace.Clamp(*epoch)
	}
	return epoch
}

func platformOf(p ocispecs.Platform) *v1.Platform {
	return &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// ignore answers which paths never enter a layer.
func ignore(paths []string) func(string) bool {
	var list []string
	for _, p := range paths {
		list = append(list, filepath.Clean("/" + p)[1:])
	}
	if len(list) == 0 {
		return nil
	}
	return func(p string) bool {
		return slices.ContainsFunc(list, func(i string) bool { return p == i || len(p) > len(i) && p[:len(i)] == i && p[len(i)] == '/' })
	}
}

// hasRun tells whether any process must run for g.
func hasRun(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Vertices, func(v *graph.Vertex) bool {
		_, ok := v.Op.(*graph.Exec)
		return ok
	})
}

func logger(ctx context.Context) *zerolog.Logger { return zerolog.Ctx(ctx) }
