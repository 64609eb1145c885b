package build

import (
	"context"
	"errors"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// layers writes the layers of the result while later steps still run, and hands
// them on to be uploaded.
type layers struct {
	deliver func(context.Context, *layer.Blob) error

	mu      sync.Mutex
	wanted  map[string]bool // vertices whose layers are in the result
	started map[*tree.Layer]bool
	group   *errgroup.Group
	ctx     context.Context //nolint:containedctx // the background work's own, for as long as one build
}

func newLayers(deliver func(context.Context, *layer.Blob) error) *layers {
	return &layers{deliver: deliver, wanted: make(map[string]bool), started: make(map[*tree.Layer]bool)}
}

// want marks the vertices whose layers end in the result: the root, what it is
// built on, and so on. What is only copied from is not among them.
func (l *layers) want(e graph.Edge) {
	v := e.Vertex
	if v == nil || l.wanted[v.ID] {
		return
	}
	l.wanted[v.ID] = true
	for _, i := range below(v) {
		if i >= 0 && i < len(v.Inputs) {
			l.want(v.Inputs[i])
		}
	}
}

// below lists the inputs whose layers are part of v's result.
func below(v *graph.Vertex) []int {
	switch o := v.Op.(type) {
	case *graph.Exec:
		for _, m := range o.Mounts {
			if m.Target == "/" {
				return []int{m.Input}
			}
		}
	case *graph.File:
		var in []int
		for _, a := range o.Actions {
			if a.Input < len(v.Inputs) {
				in = append(in, a.Input)
			}
		}
		return in
	case *graph.Merge:
		return o.Inputs
	}
	return nil
}

// start begins the background work in g, whose context is ctx.
func (l *layers) start(ctx context.Context, g *errgroup.Group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.group, l.ctx = g, ctx
}

// done is told of each vertex that is solved.
func (l *layers) done(v *graph.Vertex, _, outputs []tree.Tree) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.group == nil || !l.wanted[v.ID] {
		return
	}
	for _, t := range outputs {
		for _, y := range t.Layers() {
			l.write(y)
		}
	}
}

// write makes a layer's blob and delivers it. Several layers are written at
// once only as far as the workspace lets them.
func (l *layers) write(y *tree.Layer) {
	if l.started[y] {
		return
	}
	l.started[y] = true
	l.group.Go(func() error {
		b, err := y.Blob(l.ctx)
		if err != nil || l.deliver == nil {
			return err
		}
		return l.deliver(l.ctx, b)
	})
}

// solve solves the graphs of all platforms, writing and delivering their layers meanwhile.
func (e *engine) solve(ctx context.Context, list []frontend.PlatformResult) ([]tree.Tree, error) {
	if !e.req.SingleSnapshot {
		for _, p := range list {
			if p.Platform.OS != windows { // whose layers get their form at the end
				e.layers.want(p.Graph.Root)
			}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	background, ctx := errgroup.WithContext(ctx)
	e.layers.start(ctx, background)
	trees := make([]tree.Tree, len(list))
	err := concurrently(ctx, len(list), func(ctx context.Context, i int) (err error) {
		trees[i], err = e.solver.Tree(ctx, list[i].Graph.Root)
		return err
	})
	if err != nil {
		cancel(err)
	}
	if berr := background.Wait(); berr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = berr
	}
	return trees, err
}

// windows is the one system whose layers have a form of their own.
const windows = "windows"

// image puts the image of one platform together.
func (e *engine) image(ctx context.Context, t tree.Tree, p frontend.PlatformResult, epoch *time.Time, now time.Time) (v1.Image, error) {
	config := p.Config
	if e.req.SingleSnapshot {
		var err error
		if t, config, err = e.squash(ctx, t, p); err != nil {
			return nil, err
		}
	}
	if p.Platform.OS == windows {
		var err error
		if t, err = e.workspace.ForWindows(ctx, t); err != nil {
			return nil, err
		}
	}
	blobs, err := t.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	return image.New(image.Spec{
		Config: config, Base: p.BaseConfig, Layers: blobs, Epoch: epoch, Reproducible: e.req.Reproducible,
		Format: e.req.Format, Annotations: e.req.Annotations.Manifest, Now: now,
	})
}
