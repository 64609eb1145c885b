package file

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// Select returns what a copy takes from src, as it is there: with the patterns,
// wildcards and symlinks of the action applied, and without what the action then
// makes of it (owner, mode, times, an archive unpacked). Two sources of which the
// tables are the same give the same copy, whatever else is in them.
func Select(ctx context.Context, a *graph.Copy, src *tree.View) (*layer.Table, error) {
	c := *a
	c.Owner, c.Timestamp, c.Mode, c.ModeStr = nil, nil, -1, ""
	c.AttemptUnpack, c.CreateDestPath = false, true
	// A directory comes as itself, so that its own metadata is seen; the root,
	// which has no name, under another.
	c.DirCopyContents, c.Dest = false, "/"
	if base := path.Base(cleanPath(c.Src)); base == "/" || base == "." {
		c.Dest = "/root"
	}
	op := &graph.File{Actions: []graph.FileAction{{Input: -1, Secondary: 0, Output: 0, Do: &c}}}
	results, err := Do(ctx, op, []*tree.View{src}, Options{Now: func() time.Time { return time.Time{} }})
	if err != nil {
		return nil, err
	}
	if n := len(results[0].Tables); n != 1 {
		return nil, fmt.Errorf("select %s: %d changesets", a.Src, n)
	}
	t := results[0].Tables[0]
	if a.DirCopyContents {
		// The copy makes the destination itself, or leaves it as it is: what the
		// source's own directory is like does not matter.
		for _, n := range t.Root.Children() {
			if n.Inode != nil && n.Inode.Kind == layer.Dir {
				n.Inode = nil
			}
		}
	}
	return t, nil
}
