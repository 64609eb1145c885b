package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/snapshot"
	"github.com/strake-build/strake/shared/tree"
)

// ChrootRoots unpacks trees into plain directories and finds changes by looking
// at all files again. A directory is used on by the step that continues where
// the last one ended.
type ChrootRoots struct {
	Workspace *tree.Workspace
	Ignore    func(p string) bool

	mu   sync.Mutex
	free []*chrootDir
}

// chrootDir is a directory that holds a tree.
type chrootDir struct {
	path  string
	state tree.Tree
	index *snapshot.Index // of state; nil when it was not looked at yet
}

// Open finds or makes a directory and brings it to t.
func (c *ChrootRoots) Open(ctx context.Context, t tree.Tree, view *tree.View) (Root, error) {
	d, err := c.take(t)
	if err != nil {
		return nil, err
	}
	r := &chrootRoot{roots: c, dir: d, view: view}
	if err := d.advance(ctx, t, view, c.Ignore); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	return r, nil
}

// take removes the directory nearest to t from the free ones, or makes one.
func (c *ChrootRoots) take(t tree.Tree) (*chrootDir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	best := -1
	for i, d := range c.free {
		if t.StartsWith(d.state) && (best < 0 || len(d.state.Layers()) > len(c.free[best].state.Layers())) {
			best = i
		}
	}
	if best >= 0 {
		d := c.free[best]
		c.free = slices.Delete(c.free, best, best+1)
		return d, nil
	}
	path, err := c.Workspace.NewDir()
	return &chrootDir{path: path}, err
}

// advance lays the layers of t that are not in the directory yet onto it.
func (d *chrootDir) advance(ctx context.Context, t tree.Tree, view *tree.View, ignore func(string) bool) error {
	missing := t.Layers()[len(d.state.Layers()):]
	for _, l := range missing {
		table, err := l.Table(ctx)
		if err != nil {
			return err
		}
		if err := layer.Checkout(ctx, table, d.path, layer.CheckoutOptions{Form: layer.Applied}); err != nil {
			return fmt.Errorf("unpack the root of the step: %w", err)
		}
	}
	d.state = t
	if len(missing) == 0 && d.index != nil {
		return nil
	}
	if err := restore(ctx, d.path, view.Root().Inode); err != nil {
		return err
	}
	var err error
	if d.index, err = snapshot.Take(ctx, d.path, ignore); err != nil {
		return fmt.Errorf("look at the root of the step: %w", err)
	}
	return nil
}

type chrootRoot struct {
	roots *ChrootRoots
	dir   *chrootDir
	view  *tree.View
	stubs []string // made for the step, to be removed in reverse
}

func (r *chrootRoot) Disk() sandbox.Root { return sandbox.Root{Dir: r.dir.path} }

func (r *chrootRoot) Place(ctx context.Context, points []Point) error {
	for _, keep := range []bool{true, false} {
		e := tree.NewEditor(r.view)
		for _, p := range points {
			if p.Keep != keep {
				continue
			}
			made, err := place(e, p)
			if err != nil {
				return err
			}
			if !keep {
				r.stubs = append(r.stubs, made...)
			}
		}
		if err := layer.Checkout(ctx, e.Table(), r.dir.path, layer.CheckoutOptions{Form: layer.Applied}); err != nil {
			return err
		}
		r.view = e.View
	}
	return nil
}

// unplace takes mount points away again, unless the step put something there.
func (r *chrootRoot) unplace() {
	for _, p := range slices.Backward(r.stubs) {
		full := filepath.Join(r.dir.path, p)
		if fi, err := os.Lstat(full); err == nil && (fi.IsDir() || fi.Size() == 0) {
			_ = os.Remove(full) // a directory that is not empty stays
		}
	}
}

func (r *chrootRoot) Commit(ctx context.Context) (tree.Tree, error) {
	r.unplace()
	lower, err := r.dir.state.View(ctx)
	if err != nil {
		return tree.Tree{}, err
	}
	t, index, err := r.dir.index.Changes(ctx, r.dir.path, func(p string) (*layer.Inode, bool) {
		f, err := lower.Exact(p)
		if err != nil {
			return nil, false
		}
		return f.Inode, true
	})
	if err != nil {
		return tree.Tree{}, fmt.Errorf("find what the step changed: %w", err)
	}
	spool, err := r.roots.Workspace.Spool()
	if err != nil {
		return tree.Tree{}, err
	}
	if err := layer.Capture(t, spool); err != nil {
		return tree.Tree{}, fmt.Errorf("keep what the step changed: %w", err)
	}
	r.dir.index = index
	r.dir.state = r.dir.state.With(r.roots.Workspace.FromTable(t.Seal()))
	r.roots.mu.Lock()
	defer r.roots.mu.Unlock()
	r.roots.free = append(r.roots.free, r.dir)
	return r.dir.state, nil
}

func (r *chrootRoot) Discard() error { return os.RemoveAll(r.dir.path) }
