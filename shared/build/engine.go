package build

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/solve"
	"github.com/strake-build/strake/shared/stepcache"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/warmed"
)

// engine is one build: it answers the frontend and solves its graphs.
type engine struct {
	b         *Builder
	req       Request
	workspace *tree.Workspace
	worker    *op.Worker
	solver    *solve.Solver
	layers    *layers
	steps     *stepcache.Cache // nil without one
	mounts    *mounts          // nil before steps can run
	prepared  sync.Once
	prepErr   error
	closers   []func() error // what is to be given back after the build
	origins   origins
}

// close gives back what the build has taken, the workspace last.
func (e *engine) close() error {
	var errs []error
	for _, f := range e.closers {
		errs = append(errs, f())
	}
	return errors.Join(append(errs, e.workspace.Close())...)
}

// engine gets a build ready: what it needs is here, but for what the Dockerfile names.
func (b *Builder) engine(ctx context.Context, req Request) (_ *engine, err error) {
	if req.Source == nil {
		if err := checkContext(&req); err != nil {
			return nil, err
		}
	}
	if b.Offline && len(req.Remote) > 0 {
		return nil, &warmed.MissingError{Fetched: req.Remote}
	}
	w, err := tree.NewWorkspace(req.Dir, req.Pack)
	if err != nil {
		return nil, &EnvironmentError{err}
	}
	w.Kept = b.Kept
	e := &engine{b: b, req: req, workspace: w}
	e.worker = &op.Worker{
		Workspace: w,
		Now:       b.Now,
		Sources: &op.Sources{
			Registry: b.resolver(), Workspace: w, Secrets: req.Secrets, SSH: req.SSH, Layouts: req.Layouts, Offline: b.Offline,
			Locals: make(map[string]string), Tables: make(map[string]*layer.Table),
		},
	}
	e.worker.Sources.Fetched = e.origins.fetched
	if err := e.gather(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	for name, dir := range req.Locals {
		e.worker.Sources.Locals[name] = dir
	}
	e.layers = newLayers(b.Layer)
	e.solver = &solve.Solver{Worker: e.worker, Progress: b.Progress, Done: e.layers.done}
	return e, nil
}

// resolver finds base images.
func (b *Builder) resolver() op.Resolver {
	if b.Images != nil {
		return b.Images
	}
	return b.Registry
}

// prepare gets ready to run steps, once, when the first graph has any.
func (e *engine) prepare(ctx context.Context, g *graph.Graph) error {
	if !hasRun(g) {
		return nil
	}
	return e.isolated(ctx)
}

// isolated gets ready to run steps, once.
func (e *engine) isolated(ctx context.Context) error {
	e.prepared.Do(func() { e.prepErr = e.openSandbox(ctx) })
	return e.prepErr
}

// ImageConfig resolves a base image for the frontend.
func (e *engine) ImageConfig(ctx context.Context, q frontend.ImageQuery) (*frontend.Image, error) {
	base, err := e.worker.Sources.Base(ctx, q.Ref, q.Layout, q.Platform)
	if err != nil {
		return nil, err
	}
	return &frontend.Image{Digest: digest.Digest(base.Root.String()), Config: base.Config}, nil
}

// Open solves a graph and gives its files to read.
func (e *engine) Open(ctx context.Context, g *graph.Graph) (fs.FS, error) {
	if err := e.prepare(ctx, g); err != nil {
		return nil, err
	}
	t, err := e.solver.Tree(ctx, g.Root)
	if err != nil {
		return nil, err
	}
	v, err := t.View(ctx)
	if err != nil {
		return nil, err
	}
	return v.FS(), nil
}

// SourceTime says when a git or http source was made.
func (e *engine) SourceTime(ctx context.Context, src *graph.Source) (*time.Time, error) {
	return e.worker.Sources.Time(ctx, src)
}

// concurrently calls fn for 0 to n-1, side by side.
func concurrently(ctx context.Context, n int, fn func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error { return fn(ctx, i) })
	}
	return g.Wait()
}
