package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/snapshot"
	"github.com/strake-build/strake/shared/tree"
)

// OverlayRoots lays the layers' directories over each other by overlayfs: every
// step has a root of its own, and what it changed lies apart.
type OverlayRoots struct {
	Workspace *tree.Workspace
	UserXattr bool
	// Ignore names paths that never enter a layer.
	Ignore func(p string) bool
}

// Open makes an empty upper directory over the layers of t.
func (o *OverlayRoots) Open(ctx context.Context, t tree.Tree, view *tree.View) (Root, error) {
	dirs, err := t.Dirs(ctx)
	if err != nil {
		return nil, err
	}
	r := &overlayRoot{roots: o, tree: t, view: view, lower: dirs}
	if r.upper, err = o.Workspace.NewDir(); err != nil {
		return nil, err
	}
	if r.work, err = o.Workspace.NewDir(); err != nil {
		return nil, err
	}
	// The root of the merged view is the upper directory's.
	if err := restore(ctx, o.Workspace, r.upper, view.Root().Inode); err != nil {
		return nil, err
	}
	return r, nil
}

type overlayRoot struct {
	roots       *OverlayRoots
	tree        tree.Tree
	view        *tree.View
	lower       []string
	upper, work string
}

func (r *overlayRoot) Disk() sandbox.Root {
	return sandbox.Root{Lower: topFirst(r.lower), Upper: r.upper, Work: r.work}
}

// restore gives a directory the metadata of a root.
func restore(ctx context.Context, w *tree.Workspace, dir string, ino *layer.Inode) error {
	t := layer.NewTable()
	t.Root.Inode = ino
	return layer.Checkout(ctx, t, dir, w.Applied())
}

// topFirst turns a tree's order of layers into overlayfs' own.
func topFirst(dirs []string) []string {
	out := slices.Clone(dirs)
	slices.Reverse(out)
	return out
}

// Place puts what stays into the upper directory, and what goes into a layer
// directory of its own below it, which the step sees and the result does not.
func (r *overlayRoot) Place(ctx context.Context, points []Point) error {
	keep, stubs := tree.NewEditor(r.view), tree.NewEditor(r.view)
	for _, p := range points {
		if p.Keep {
			if _, err := place(keep, p); err != nil {
				return err
			}
		}
	}
	if t := keep.Table(); !t.Empty() {
		if err := layer.Checkout(ctx, t, r.upper, r.roots.Workspace.Overlay()); err != nil {
			return err
		}
		stubs = tree.NewEditor(keep.View)
	}
	for _, p := range points {
		if !p.Keep {
			if _, err := place(stubs, p); err != nil {
				return err
			}
		}
	}
	t := stubs.Table()
	if t.Empty() {
		return nil
	}
	dir, err := r.roots.Workspace.NewDir()
	if err != nil {
		return err
	}
	r.lower = append(r.lower[:len(r.lower):len(r.lower)], dir)
	return layer.Checkout(ctx, t, dir, r.roots.Workspace.Overlay())
}

// place makes p and its parents where they are missing, and tells which paths
// that were, parents first.
func place(e *tree.Editor, p Point) (made []string, err error) {
	if _, err := e.Exact(p.Path); err == nil {
		return nil, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make a mount point at /%s: %w", p.Path, err)
	}
	if dir := path.Dir(p.Path); dir != "." {
		if made, err = place(e, Point{Path: dir, Dir: true}); err != nil {
			return nil, err
		}
	}
	ino := &layer.Inode{Kind: layer.Regular, Mode: 0o644, ModTime: time.Now()}
	if p.Dir {
		ino.Kind, ino.Mode = layer.Dir, 0o755
	}
	return append(made, p.Path), e.Put(p.Path, ino)
}

func (r *overlayRoot) Commit(ctx context.Context) (tree.Tree, error) {
	if err := os.RemoveAll(r.work); err != nil {
		return tree.Tree{}, fmt.Errorf("remove overlay's work directory: %w", err)
	}
	t, err := snapshot.Upper(ctx, r.upper, snapshot.UpperOptions{
		Lower: r.inLower, Names: r.namesInLower, UserXattr: r.roots.UserXattr, Ignore: r.roots.Ignore, Latest: r.roots.Workspace.Snapshot(nil).Latest,
	})
	if err != nil {
		return tree.Tree{}, fmt.Errorf("find what the step changed: %w", err)
	}
	return r.tree.With(r.roots.Workspace.FromDir(r.upper, t.Seal())), nil
}

func (r *overlayRoot) inLower(p string) (*layer.Inode, bool) {
	f, err := r.view.Exact(p)
	if err != nil {
		return nil, false
	}
	return f.Inode, true
}

func (r *overlayRoot) namesInLower(p string) []string {
	f, err := r.view.Exact(p)
	if err != nil || !f.IsDir() {
		return nil
	}
	var names []string
	for _, c := range r.view.ReadDir(f) {
		names = append(names, path.Base(c.Path))
	}
	return names
}

func (r *overlayRoot) Discard() error {
	return errors.Join(os.RemoveAll(r.upper), os.RemoveAll(r.work))
}
