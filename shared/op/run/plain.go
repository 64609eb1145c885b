package run

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/snapshot"
	"github.com/strake-build/strake/shared/tree"
)

// plainDir is a plain directory that holds a tree. What a step changes there is
// found by looking at all files before and after.
type plainDir struct {
	path  string
	state tree.Tree
	index *snapshot.Index // of state; nil when it was not looked at yet
}

// laying says how trees get into plain directories and out again.
type laying struct {
	workspace *tree.Workspace
	// ignore names paths that never enter a layer.
	ignore func(p string) bool
	// fit, if set, takes from a layer's table what must not be put into the directory.
	fit func(*layer.Table) (*layer.Table, error)
	// settled, if set, takes from what a step has changed what is not the tree's. move, if
	// it is not nil, then puts files where the tree has them.
	settled func(t *layer.Table, before *tree.View) (move func() error, err error)
}

// checkout lays a table onto the directory.
func (l *laying) checkout(ctx context.Context, t *layer.Table, dir string) error {
	if l.fit != nil {
		var err error
		if t, err = l.fit(t); err != nil {
			return err
		}
	}
	return layer.Checkout(ctx, t, dir, l.workspace.Applied())
}

// advance lays the layers of t that are not in the directory yet onto it.
func (d *plainDir) advance(ctx context.Context, t tree.Tree, view *tree.View, l *laying) error {
	missing := t.Layers()[len(d.state.Layers()):]
	for _, y := range missing {
		table, err := y.Table(ctx)
		if err != nil {
			return err
		}
		if err := l.checkout(ctx, table, d.path); err != nil {
			return fmt.Errorf("unpack the root of the step: %w", err)
		}
	}
	d.state = t
	if len(missing) == 0 && d.index != nil {
		return nil
	}
	root := layer.NewTable()
	root.Root.Inode = view.Root().Inode
	if err := l.checkout(ctx, root, d.path); err != nil {
		return err
	}
	var err error
	if d.index, err = snapshot.Take(ctx, d.path, l.workspace.Snapshot(l.ignore)); err != nil {
		return fmt.Errorf("look at the root of the step: %w", err)
	}
	return nil
}

// changes are what the step made of the directory's tree. The directory then
// holds the tree that is returned.
func (d *plainDir) changes(ctx context.Context, l *laying) (tree.Tree, error) {
	lower, err := d.state.View(ctx)
	if err != nil {
		return tree.Tree{}, err
	}
	t, index, err := d.index.Changes(ctx, d.path, func(p string) (*layer.Inode, bool) {
		f, err := lower.Exact(p)
		if err != nil {
			return nil, false
		}
		return f.Inode, true
	})
	if err != nil {
		return tree.Tree{}, fmt.Errorf("find what the step changed: %w", err)
	}
	var move func() error
	if l.settled != nil {
		if move, err = l.settled(t, lower); err != nil {
			return tree.Tree{}, fmt.Errorf("find what the step changed: %w", err)
		}
	}
	spool, err := l.workspace.Spool()
	if err != nil {
		return tree.Tree{}, err
	}
	if err := layer.Capture(t, spool); err != nil {
		return tree.Tree{}, fmt.Errorf("keep what the step changed: %w", err)
	}
	d.index = index
	if move != nil {
		d.index = nil // it names places from which files are gone
		if err := move(); err != nil {
			return tree.Tree{}, fmt.Errorf("put what the step made where the image has it: %w", err)
		}
	}
	d.state = d.state.With(l.workspace.FromTable(t.Seal()))
	return d.state, nil
}

// stubs are what was made for a step in a plain directory, to be removed in reverse.
type stubs []string

// place makes points in the directory; view is what is there.
func (s *stubs) place(ctx context.Context, d *plainDir, view *tree.View, l *laying, points []Point) error {
	for _, keep := range []bool{true, false} {
		e := tree.NewEditor(view)
		for _, p := range points {
			if p.Keep != keep {
				continue
			}
			made, err := place(e, p)
			if err != nil {
				return err
			}
			if !keep {
				*s = append(*s, made...)
			}
		}
		if err := l.checkout(ctx, e.Table(), d.path); err != nil {
			return err
		}
		view = e.View
	}
	return nil
}

// remove takes mount points away again, unless the step put something there.
func (s stubs) remove(d *plainDir) {
	for _, p := range slices.Backward(s) {
		full := filepath.Join(d.path, p)
		if fi, err := os.Lstat(full); err == nil && (fi.IsDir() || fi.Size() == 0) {
			_ = os.Remove(full) // a directory that is not empty stays
		}
	}
}
