// Package build is the operation of the executor: a Dockerfile and its context to an image, exported while it is made.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rs/zerolog"

	"github.com/strake-build/strake/shared/export"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/solve"
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
	// Dockerfile is the Dockerfile's path.
	Dockerfile string
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

	Cache       Cache
	CacheMounts CacheMounts
}

// Annotations are those of image manifests and of the index.
type Annotations struct{ Manifest, Index map[string]string }

// Builder builds. Its parts are set once.
type Builder struct {
	Registry *registry.Client
	Progress solve.Progress
	Warn     func(frontend.Warning)
	// Planned, where set, is told what will be done before anything is.
	Planned func(Plan)
	// Layer, where set, is given each layer of the result as soon as it is
	// written, while the build goes on.
	Layer func(ctx context.Context, b *layer.Blob) error
	Now   func() time.Time
	// Reaper collects what steps leave behind; there is one in a process. It may
	// be nil where nothing is to run but in an overlay.
	Reaper *sandbox.Reaper
}

// Result is what was built. It can be read until Close.
type Result struct {
	// Artifact is a v1.Image, or a v1.ImageIndex for several platforms.
	Artifact export.Artifact
	Images   []v1.Image
	Warnings []frontend.Warning

	close func() error
}

// Close waits until the results of steps are in the cache, removes the build's
// files, and gives the builder's root to the next
// build where steps ran in place.
func (r *Result) Close() error { return r.close() }

// Run builds. The result is to be closed.
func (b *Builder) Run(ctx context.Context, req Request) (_ *Result, err error) {
	if err := locate(&req); err != nil {
		return nil, err
	}
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
	res, err = frontend.Build(ctx, req.Frontend, e, b.Warn)
	if err != nil {
		return nil, err
	}
	if b.Planned != nil {
		b.Planned(plan(res))
	}
	if err := e.prepareAll(ctx, res.Platforms); err != nil {
		return nil, err
	}
	epoch := e.clamp(res.Epoch)
	e.remember(ctx, epoch, res.Platforms)
	trees, err := e.solve(ctx, res.Platforms)
	if err != nil {
		return nil, err
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
	}
	out.Artifact = parts[0].Image
	if res.MultiPlatform {
		out.Artifact, err = image.Index(parts, req.Format, req.Annotations.Index)
	}
	return out, err
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

// locate finds the context and the Dockerfile, which may be named relative to
// the working directory or to the context.
func locate(req *Request) error {
	if req.Frontend.MainContext != "" {
		return locateRemote(req)
	}
	fi, err := os.Stat(req.Context)
	if err != nil {
		return fmt.Errorf("build context %s: %w: %w", req.Context, ErrNoContext, err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("build context %s: %w: not a directory", req.Context, ErrNoContext)
	}
	tried := []string{req.Dockerfile}
	if !filepath.IsAbs(req.Dockerfile) {
		tried = append(tried, filepath.Join(req.Context, req.Dockerfile))
	}
	if req.Dockerfile == defaultDockerfile { // nobody gave a name: the context's counts
		tried = tried[1:]
	}
	if dir, name := filepath.Split(tried[len(tried)-1]); name == defaultDockerfile { // in either spelling
		tried = append(tried, filepath.Join(dir, "dockerfile"))
	}
	for _, p := range tried {
		if fi, err := os.Stat(p); err == nil && !fi.IsDir() {
			req.Dockerfile = p
			req.Frontend.Filename = filepath.Base(p)
			return nil
		}
	}
	return fmt.Errorf("find Dockerfile %s: %w, neither as a path nor in the context %s", req.Dockerfile, ErrNoContext, req.Context)
}

const defaultDockerfile = "Dockerfile"

// locateRemote leaves finding the Dockerfile in a remote context to the
// frontend, unless it names a file here.
func locateRemote(req *Request) error {
	if req.Dockerfile == defaultDockerfile {
		return nil
	}
	if fi, err := os.Stat(req.Dockerfile); err == nil && !fi.IsDir() {
		req.Frontend.Filename = filepath.Base(req.Dockerfile)
		if req.Frontend.Opts == nil {
			req.Frontend.Opts = make(map[string]string)
		}
		req.Frontend.Opts["dockerfilekey"] = "dockerfile"
		return nil
	}
	req.Frontend.Filename = strings.TrimPrefix(strings.TrimPrefix(req.Dockerfile, req.Frontend.MainContext), "/")
	return nil
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
