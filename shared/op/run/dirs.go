package run

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// DirRoots unpacks trees into plain directories. A directory is used on by the
// step that continues where the last one ended.
type DirRoots struct {
	Workspace *tree.Workspace
	// Ignore names paths that never enter a layer.
	Ignore func(p string) bool

	mu   sync.Mutex
	free []*plainDir
}

func (c *DirRoots) laying() *laying { return &laying{workspace: c.Workspace, ignore: c.Ignore} }

// Open finds or makes a directory and brings it to t.
func (c *DirRoots) Open(ctx context.Context, t tree.Tree, view *tree.View) (Root, error) {
	d, err := c.take(t)
	if err != nil {
		return nil, err
	}
	r := &dirRoot{roots: c, dir: d, view: view}
	if err := d.advance(ctx, t, view, c.laying()); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	return r, nil
}

// take removes the directory nearest to t from the free ones, or makes one.
func (c *DirRoots) take(t tree.Tree) (*plainDir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if best := nearest(c.free, t); best >= 0 {
		d := c.free[best]
		c.free = slices.Delete(c.free, best, best+1)
		return d, nil
	}
	path, err := c.Workspace.NewDir()
	return &plainDir{path: path}, err
}

// nearest picks the directory that has most of t's layers and nothing else, or -1.
func nearest(list []*plainDir, t tree.Tree) int {
	best := -1
	for i, d := range list {
		if t.StartsWith(d.state) && (best < 0 || len(d.state.Layers()) > len(list[best].state.Layers())) {
			best = i
		}
	}
	return best
}

type dirRoot struct {
	roots *DirRoots
	dir   *plainDir
	view  *tree.View
	stubs stubs
}

func (r *dirRoot) Disk() sandbox.Root { return sandbox.Root{Dir: r.dir.path} }

func (r *dirRoot) Place(ctx context.Context, points []Point) error {
	return r.stubs.place(ctx, r.dir, r.view, r.roots.laying(), points)
}

func (r *dirRoot) Commit(ctx context.Context) (tree.Tree, error) {
	r.stubs.remove(r.dir)
	t, err := r.dir.changes(ctx, r.roots.laying())
	if err != nil {
		return tree.Tree{}, err
	}
	r.roots.mu.Lock()
	defer r.roots.mu.Unlock()
	r.roots.free = append(r.roots.free, r.dir)
	return t, nil
}

func (r *dirRoot) Discard() error { return os.RemoveAll(r.dir.path) }
