package run

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// bindSource shows a part of another tree. Writes, where they are allowed, go
// into a directory that is thrown away.
func (r *Runner) bindSource(ctx context.Context, m *graph.Mount, in tree.Tree) (source, error) {
	if m.Output > 0 {
		return source{}, errors.New("a mount other than the root cannot be a result")
	}
	view, err := in.View(ctx)
	if err != nil {
		return source{}, err
	}
	sub, f, err := view.Resolve(m.Selector, true)
	if err != nil {
		return source{}, err
	}
	if f == nil {
		return source{}, fmt.Errorf("%q: not found", m.Selector)
	}
	s := source{file: !f.IsDir()}
	if !r.Sandbox.View().Layered {
		return r.copySource(ctx, m, view, f, s)
	}
	dirs, err := in.Dirs(ctx)
	if err != nil {
		return source{}, err
	}
	if len(dirs) == 0 { // scratch, and overlayfs wants one
		empty, err := r.Workspace.NewDir()
		if err != nil {
			return source{}, err
		}
		dirs = []string{empty}
	}
	root := &sandbox.Root{Lower: topFirst(dirs)}
	s.mount = sandbox.Mount{Overlay: root, Subdir: sub, ReadOnly: m.ReadOnly}
	if m.ReadOnly {
		return s, nil
	}
	if root.Upper, err = r.Workspace.NewDir(); err != nil {
		return source{}, err
	}
	if root.Work, err = r.Workspace.NewDir(); err != nil {
		return source{}, err
	}
	s.release = func() error { return errors.Join(os.RemoveAll(root.Upper), os.RemoveAll(root.Work)) }
	return s, restore(ctx, r.Workspace, root.Upper, view.Root().Inode)
}

// copySource unpacks what is to be seen, for a sandbox that can only put
// directories into place.
func (r *Runner) copySource(ctx context.Context, m *graph.Mount, view *tree.View, f *tree.File, s source) (source, error) {
	dir, err := r.Workspace.NewDir()
	if err != nil {
		return source{}, err
	}
	s.release = func() error { return os.RemoveAll(dir) }
	s.mount.Source, s.mount.ReadOnly = dir, m.ReadOnly
	if s.file {
		s.mount.Source = dir + "/file"
		t := layer.NewTable()
		t.Make("file").Inode = f.Inode
		return s, layer.Checkout(ctx, t.Seal(), dir, r.Workspace.Applied())
	}
	return s, r.checkoutBelow(ctx, view, f, dir)
}

// checkoutBelow unpacks the directory f with all that is in it into dir.
func (r *Runner) checkoutBelow(ctx context.Context, view *tree.View, f *tree.File, dir string) error {
	t := layer.NewTable()
	err := view.Walk(f, func(c *tree.File) error {
		t.Make(c.Path[len(f.Path):]).Inode = c.Inode
		return nil
	})
	if err != nil {
		return err
	}
	if err := layer.Checkout(ctx, t.Seal(), dir, r.Workspace.Applied()); err != nil {
		return err
	}
	return restore(ctx, r.Workspace, dir, f.Inode)
}
