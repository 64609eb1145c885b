package file

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// level is a directory that a copy is in. Its place in the destination is made
// when something is first put there, so that "a/*/c" makes no "a/b" without a "c".
type level struct {
	up   *level
	name string
	src  *tree.File
	dir  *tree.Dir // nil as long as it is not needed
}

// matched is what the patterns made of a directory; its entries start from that.
type matched struct{ include, exclude patternmatcher.MatchInfo }

// children copies what is in the directory l. base is the path of the whole
// source, rel that of l below it.
func (c *copier) children(ctx context.Context, l *level, base, rel string, m matched) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, f := range c.src.ReadDir(l.src) {
		name := path.Base(f.Path)
		err := c.entry(ctx, entry{l, f, name, base, path.Join(rel, name)}, m)
		if err != nil {
			return err
		}
	}
	return nil
}

// entry is something in a directory that is copied.
type entry struct {
	in        *level
	src       *tree.File
	name      string
	base, rel string
}

func (c *copier) entry(ctx context.Context, e entry, m matched) error {
	included, excluded := true, false
	var err error
	if c.include != nil {
		if included, m.include, err = c.include.MatchesUsingParentResults(e.rel, m.include); err != nil {
			return fmt.Errorf("match include patterns: %w", err)
		}
	}
	if c.exclude != nil {
		if excluded, m.exclude, err = c.exclude.MatchesUsingParentResults(e.rel, m.exclude); err != nil {
			return fmt.Errorf("match exclude patterns: %w", err)
		}
	}
	included = included && !excluded
	if included {
		c.meet(path.Join(e.base, e.rel))
		if err := c.need(e.in); err != nil {
			return err
		}
	}
	if !e.src.IsDir() {
		if !included {
			return nil
		}
		return c.file(e.src, e.in.dir, e.name)
	}
	l := &level{up: e.in, name: e.name, src: e.src}
	if included {
		if err := c.overlay(l, c.inode(e.src.Inode)); err != nil {
			return err
		}
	}
	// A later "!pattern" may bring back what is in an excluded directory.
	if excluded && !c.exclude.Exclusions() {
		return nil
	}
	return c.children(ctx, l, e.base, e.rel, m)
}

// overlay makes a directory, or gives the one that is there the metadata i.
func (c *copier) overlay(l *level, i *layer.Inode) error {
	d := l.up.dir
	there, err := c.clear(d, l.name)
	if err != nil {
		return err
	}
	if there != nil {
		i.Xattrs = merge(there.Xattrs, i.Xattrs)
	}
	if there == nil || !sameMeta(there.Inode, i) {
		d.Put(l.name, i)
	}
	l.dir, err = d.Open(l.name)
	return err
}

// need makes a directory that matches no pattern itself but has something in it
// that does. One that is there takes the source's mode, as in fsutil, and no more.
func (c *copier) need(l *level) error {
	if l.dir != nil {
		return nil
	}
	if err := c.need(l.up); err != nil {
		return err
	}
	d := l.up.dir
	there := d.Child(l.name)
	switch {
	case there == nil:
		d.Put(l.name, c.inode(l.src.Inode))
	case !there.IsDir():
		return fmt.Errorf("cannot copy to non-directory: /%s", there.Path)
	case there.Mode != l.src.Mode:
		i := clone(there.Inode)
		i.Mode = l.src.Mode
		d.Put(l.name, i)
	}
	var err error
	l.dir, err = d.Open(l.name)
	return err
}

// meet notes that p is copied.
func (c *copier) meet(p string) {
	for _, r := range c.required {
		if r.path == "/" || p == r.path || strings.HasPrefix(p, r.path+"/") {
			r.met = true
		}
	}
}
