// Package tree is a file system as a stack of layers, looked into without unpacking and checked out only when a process must run in it.
package tree

import (
	"context"
	"slices"

	"github.com/strake-build/strake/shared/framed"
	"github.com/strake-build/strake/shared/layer"
)

// Tree is an immutable file system: layers, the first at the bottom. The zero
// Tree is empty.
type Tree struct{ layers []*Layer }

// Of stacks layers, the first at the bottom.
func Of(layers ...*Layer) Tree { return Tree{layers} }

// With returns the tree with l on top.
func (t Tree) With(l ...*Layer) Tree { return Tree{append(slices.Clip(t.layers), l...)} }

// Layers returns the layers, the first at the bottom. The slice is not to be changed.
func (t Tree) Layers() []*Layer { return t.layers }

// StartsWith tells whether o's layers are the lowest of t's.
func (t Tree) StartsWith(o Tree) bool {
	return len(o.layers) <= len(t.layers) && slices.Equal(t.layers[:len(o.layers)], o.layers)
}

// Split parts the base image's layers from those made since.
func (t Tree) Split() (base Tree, made []*Layer) {
	n := 0
	for n < len(t.layers) && t.layers[n].base {
		n++
	}
	return Tree{t.layers[:n:n]}, t.layers[n:]
}

// Content identifies what the tree shows, times left out: the Content of all its
// layers. Nothing is fetched for it, but layers made here are read.
func (t Tree) Content(ctx context.Context) (string, error) {
	all := make([]string, len(t.layers))
	err := each(ctx, t.layers, func(ctx context.Context, i int, l *Layer) (err error) {
		all[i], err = l.Content(ctx)
		return err
	})
	return framed.New("strake tree 1").Strings(all...).Sum(), err
}

// View fetches the tables of contents of all layers and lays them over each other.
func (t Tree) View(ctx context.Context) (*View, error) {
	tables := make([]*layer.Table, len(t.layers))
	err := each(ctx, t.layers, func(ctx context.Context, i int, l *Layer) (err error) {
		tables[i], err = l.Table(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return NewView(tables...), nil
}

// Dirs returns the layers' directories in overlayfs format, the first at the
// bottom, making those that are not there yet.
func (t Tree) Dirs(ctx context.Context) ([]string, error) {
	dirs := make([]string, len(t.layers))
	err := each(ctx, t.layers, func(ctx context.Context, i int, l *Layer) (err error) {
		dirs[i], err = l.Dir(ctx)
		return err
	})
	return dirs, err
}

// Blobs returns the layers' blobs, the first at the bottom, writing those that
// are not there yet.
func (t Tree) Blobs(ctx context.Context) ([]*layer.Blob, error) {
	blobs := make([]*layer.Blob, len(t.layers))
	err := each(ctx, t.layers, func(ctx context.Context, i int, l *Layer) (err error) {
		blobs[i], err = l.Blob(ctx)
		return err
	})
	return blobs, err
}
