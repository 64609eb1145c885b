package tree

import (
	"context"
	"errors"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/layer"
)

// Layer is one changeset in the forms that a build needs: its table of
// contents, a directory for overlayfs, and the blob that is pushed. Each form
// is made when it is first asked for, once, whoever asks.
type Layer struct {
	base    bool    // of a finished image
	chain   v1.Hash // of a layer that was not made here: it and all below it
	table   promise[*layer.Table]
	dir     promise[string]
	blob    promise[*layer.Blob]
	content promise[string]
}

// Table returns the layer's table of contents.
func (l *Layer) Table(ctx context.Context) (*layer.Table, error) { return l.table.get(ctx) }

// Dir returns a directory with the layer in overlayfs format. It is not to be changed.
func (l *Layer) Dir(ctx context.Context) (string, error) { return l.dir.get(ctx) }

// Blob returns the layer's blob.
func (l *Layer) Blob(ctx context.Context) (*layer.Blob, error) { return l.blob.get(ctx) }

// Content identifies what the layer says, times left out: layers with equal
// Content make equal file systems of equal ones. That of a base image's layer is
// its diff ID; for a layer made here, its files are read.
func (l *Layer) Content(ctx context.Context) (string, error) { return l.content.get(ctx) }

// mapped is the layer with another look at its table; it has no directory.
func (l *Layer) mapped(look func(*layer.Table) *layer.Table) *Layer {
	m := &Layer{base: l.base, chain: l.chain}
	m.table.make = func(ctx context.Context) (*layer.Table, error) {
		t, err := l.table.get(ctx)
		if err != nil {
			return nil, err
		}
		return look(t), nil
	}
	m.dir.make = func(context.Context) (string, error) { return "", errors.ErrUnsupported }
	m.blob.make, m.content.make = l.blob.get, l.content.get
	return m
}

// promise is a value made by the first who asks.
type promise[T any] struct {
	make func(context.Context) (T, error)

	mu   sync.Mutex
	done bool
	v    T
	err  error
}

// kept is a promise that is fulfilled already.
func kept[T any](v T) promise[T] { return promise[T]{done: true, v: v} }

func (p *promise[T]) get(ctx context.Context) (T, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		if err := context.Cause(ctx); err != nil {
			return p.v, err
		}
		p.v, p.err = p.make(ctx)
		p.done = true
	}
	return p.v, p.err
}

// parallel is how many layers are worked on at once: more would only fight for
// the disk and the processors.
const parallel = 4

// each calls fn for every element, a few at once, and returns the first error.
func each[T any](ctx context.Context, s []T, fn func(context.Context, int, T) error) error {
	if len(s) == 1 {
		return fn(ctx, 0, s[0])
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, v := range s {
		g.Go(func() error { return fn(ctx, i, v) })
	}
	return g.Wait()
}
