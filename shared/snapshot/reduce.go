package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/strake-build/strake/shared/layer"
)

// change is a file that may differ from what is below it.
type change struct {
	name     string
	path     string
	in       *layer.Inode // nil for a whiteout
	opaque   bool
	id       fileID // of a file with several names, else zero
	same     bool   // as below
	children []*change
}

type fileID struct{ dev, ino uint64 }

func newChange(f found, name string, adjust Adjust) *change {
	c := &change{name: name, path: f.file.Path, in: f.in, opaque: f.marks.opaque}
	isDevice := f.in.Kind == layer.Char && f.in.DevMajor == 0 && f.in.DevMinor == 0
	if isDevice || f.marks.whiteout && f.in.Kind == layer.Regular && f.in.Size == 0 {
		c.in = nil
		return c
	}
	if adjust != nil {
		adjust(f.file, c.in)
		if c.in.Kind != layer.Regular {
			c.in.Size, c.in.Content = 0, nil
		}
	}
	if f.shared {
		c.id = fileID{f.file.Dev, f.file.Ino}
	}
	return c
}

func (c *change) isDir() bool { return c.in != nil && c.in.Kind == layer.Dir }

// reducer takes from a tree of changes what is no change.
type reducer struct {
	ctx    context.Context // of the one call that this is
	lower  Lower
	latest *time.Time
	links  map[fileID][]*change
}

func reduce(ctx context.Context, top *change, lower Lower, latest *time.Time) (*layer.Table, error) {
	if lower == nil {
		lower = func(string) (*layer.Inode, bool) { return nil, false }
	}
	r := &reducer{ctx: ctx, lower: lower, latest: latest, links: make(map[fileID][]*change)}
	if err := r.compare(top, false); err != nil {
		return nil, err
	}
	r.tie()
	t := layer.NewTable()
	t.Root.Opaque = top.opaque
	r.build(t.Root, top, false)
	below, ok := lower("")
	if !ok || below == nil {
		below = &layer.Inode{Kind: layer.Dir, Mode: 0o755}
	}
	if !sameDir(top.in, below) {
		t.Root.Inode = top.in
	}
	return t.Seal(), nil
}

// expand says by whiteouts what an opaque directory hides. A changeset found by
// looking twice has no opaque directories, and the same step is to give the same
// layer under every view; BuildKit does so, too.
func expand(c *change, hidden bool, lower Lower, names func(string) []string) {
	hidden = hidden || c.opaque
	if hidden {
		if in, ok := lower(c.path); ok && in.Kind == layer.Dir {
			c.hide(names(c.path))
		}
		c.opaque = false
	}
	for _, child := range c.children {
		if child.isDir() {
			expand(child, hidden, lower, names)
		}
	}
}

// hide adds whiteouts for the names that c does not have itself.
func (c *change) hide(names []string) {
	own := make(map[string]bool, len(c.children))
	for _, child := range c.children {
		own[child.name] = true
	}
	for _, name := range names {
		if !own[name] {
			c.children = append(c.children, &change{name: name, path: join(c.path, name)})
		}
	}
}

// below is what the lower layers show at a change's place, unless something
// above hides it.
func (r *reducer) below(c *change, hidden bool) *layer.Inode {
	if hidden {
		return nil
	}
	in, ok := r.lower(c.path)
	if !ok {
		return nil
	}
	return in
}

// hides tells whether the directory c shows nothing of what is below it.
func (r *reducer) hides(c *change, hidden bool) bool {
	if hidden || c.opaque {
		return true
	}
	if c.path == "" {
		return false
	}
	in := r.below(c, false)
	return in == nil || in.Kind != layer.Dir
}

// compare finds out which files are as they were.
func (r *reducer) compare(c *change, hidden bool) error {
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	hidden = r.hides(c, hidden)
	for _, child := range c.children {
		if child.isDir() {
			if err := r.compare(child, hidden); err != nil {
				return err
			}
			continue
		}
		if err := r.compareFile(child, hidden); err != nil {
			return err
		}
	}
	return nil
}

func (r *reducer) compareFile(c *change, hidden bool) error {
	if c.in == nil {
		return nil
	}
	if c.id != (fileID{}) {
		r.links[c.id] = append(r.links[c.id], c)
	}
	old := r.below(c, hidden)
	if old == nil || !r.sameFile(c.in, old) {
		return nil
	}
	same, err := sameContent(c.in, old)
	if err != nil {
		return fmt.Errorf("compare /%s with what it was: %w", c.path, err)
	}
	c.same = same
	return nil
}

// tie gives the names of a file one inode. If one of them is a change, all
// are, or the link between them would be lost.
func (r *reducer) tie() {
	for _, group := range r.links {
		same := true
		for _, c := range group {
			same = same && c.same
		}
		for _, c := range group {
			c.same, c.in = same, group[0].in
		}
	}
}

// build puts the children of c that are changes below n.
func (r *reducer) build(n *layer.Node, c *change, hidden bool) {
	hidden = r.hides(c, hidden)
	for _, child := range c.children {
		switch {
		case child.in == nil:
			if r.below(child, hidden) != nil {
				n.Set(&layer.Node{Name: child.name, Whiteout: true})
			}
		case child.isDir():
			if d := r.buildDir(child, hidden); d != nil {
				n.Set(d)
			}
		case !child.same:
			n.Set(&layer.Node{Name: child.name, Inode: child.in})
		}
	}
}

func (r *reducer) buildDir(c *change, hidden bool) *layer.Node {
	old := r.below(c, hidden)
	if old != nil && old.Kind != layer.Dir {
		old = nil
	}
	// overlayfs marks new directories too, though there is nothing to hide.
	n := &layer.Node{Name: c.name, Inode: c.in, Opaque: c.opaque && old != nil}
	r.build(n, c, hidden)
	if n.Len() == 0 && !n.Opaque && old != nil && sameDir(c.in, old) {
		return nil
	}
	return n
}

// sameDir leaves the time out, since everything moves it.
func sameDir(a, b *layer.Inode) bool {
	return a.Kind == b.Kind && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && maps.Equal(a.Xattrs, b.Xattrs)
}

// second is a time as a layer has it. Times that come out the same are the same: otherwise the clock would say whether a
// file that was made again as it was is a change, by whether a second began between two steps.
func (r *reducer) second(t time.Time) int64 {
	if r.latest != nil && t.After(*r.latest) {
		t = *r.latest
	}
	return t.Unix()
}

func (r *reducer) sameFile(a, b *layer.Inode) bool {
	if a.Kind == layer.Symlink {
		// Nobody can set the mode of a symlink; archives tell all kinds of it.
		c := *a
		c.Mode = b.Mode
		a = &c
	}
	return sameDir(a, b) && a.Size == b.Size && r.second(a.ModTime) == r.second(b.ModTime) && a.Target == b.Target &&
		a.DevMajor == b.DevMajor && a.DevMinor == b.DevMinor
}

func sameContent(a, b *layer.Inode) (bool, error) {
	if a.Kind != layer.Regular || a.Size == 0 {
		return true, nil
	}
	if b.Content == nil {
		return false, nil
	}
	x, err := a.Content.Open()
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := b.Content.Open()
	if err != nil {
		return false, err
	}
	defer y.Close()
	return sameBytes(x, y)
}

func sameBytes(x, y io.Reader) (bool, error) {
	a, b := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, errX := io.ReadFull(x, a)
		m, errY := io.ReadFull(y, b)
		endX, endY := ended(errX), ended(errY)
		switch {
		case errX != nil && !endX:
			return false, errX
		case errY != nil && !endY:
			return false, errY
		case !bytes.Equal(a[:n], b[:m]):
			return false, nil
		case endX || endY:
			return endX == endY, nil
		}
	}
}

func ended(err error) bool { return err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) }
