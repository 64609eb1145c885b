package layer

import (
	"fmt"
	"strings"
)

// folder is a directory of a layer that is being unpacked or checked out.
type folder struct {
	node   *Node
	parent *folder // nil for the root
	name   string
	path   string
	fd     int // -1 while closed
	used   uint64
	pinned bool
	heir   heir
	// before is the metadata of a directory that was there already, and that
	// the layer only passes through.
	before *Inode
	made   bool // by us: its metadata is ours to set
	gone   bool
}

func (f *folder) join(name string) string {
	if f.path == "" {
		return name
	}
	return f.path + "/" + name
}

// tree is the table that an unpacker builds, with its directories.
type tree struct {
	t       *Table
	root    *folder
	byNode  map[*Node]*folder
	byName  map[string]*folder // as entries spell them
	last    *folder            // what byName has for lastDir
	lastDir string
	folders []*folder // parents first
}

func (t *tree) reset() {
	t.t = NewTable()
	t.root = &folder{node: t.t.Root, fd: -1}
	t.byNode = map[*Node]*folder{t.t.Root: t.root}
	t.byName = map[string]*folder{}
	t.folders = []*folder{t.root}
}

// maxLinks is what the kernel follows before it says ELOOP.
const maxLinks = 40

// folder returns the directory at a clean path, following the layer's own
// symlinks within its root, and makes it where it is missing.
func (u *unpacker) folder(dir string) (*folder, error) {
	if u.last != nil && u.lastDir == dir {
		return u.last, nil
	}
	f, ok := u.byName[dir]
	if !ok {
		var err error
		if f, err = u.resolve(dir, orMake); err != nil {
			return nil, err
		}
		u.byName[dir] = f
	}
	u.last, u.lastDir = f, dir
	return f, nil
}

// resolve walks to a directory. Where it is missing it is made, or the answer
// is nil.
func (u *unpacker) resolve(dir string, missing makeOrNil) (*folder, error) {
	f, links := u.root, 0
	for dir != "" {
		var name string
		name, dir, _ = strings.Cut(dir, "/")
		switch {
		case name == "" || name == ".":
			continue
		case name == "..":
			if f.parent != nil {
				f = f.parent
			}
			continue
		case len(name) > 255:
			return nil, malformed(u.name, "name of %d bytes", len(name))
		}
		n := f.node.Child(name)
		if n != nil && n.Inode != nil && n.Inode.Kind == Symlink {
			if links++; links > maxLinks {
				return nil, malformed(u.name, "too many symlinks")
			}
			if strings.HasPrefix(n.Inode.Target, "/") {
				f = u.root
			}
			dir = n.Inode.Target + "/" + dir
			continue
		}
		if missing == orNil && (n == nil || !n.IsDir()) {
			return nil, nil
		}
		var err error
		if f, err = u.subfolder(f, name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

type makeOrNil bool

const (
	orMake makeOrNil = true
	orNil  makeOrNil = false
)

// subfolder returns the directory called name in f, and makes it where it is
// missing, or where the layer had something else until now. What the layers
// below have by that name stays hidden then.
func (u *unpacker) subfolder(f *folder, name string) (*folder, error) {
	n := f.node.Child(name)
	if n != nil && n.IsDir() {
		return u.byNode[n], nil
	}
	if n != nil {
		if err := u.clear(f, name); err != nil {
			return nil, err
		}
	}
	c := &folder{
		node: &Node{Name: name, Opaque: n != nil}, parent: f,
		name: name, path: f.join(name), fd: -1, heir: f.heir, made: true,
	}
	if int64(len(c.path)) > u.limits.Path {
		return nil, &LimitError{What: "bytes in a path", Max: u.limits.Path}
	}
	if err := spend(&u.left.Metadata, int64(len(c.path)), "bytes of metadata", u.limits.Metadata); err != nil {
		return nil, err
	}
	f.node.Set(c.node)
	u.byNode[c.node] = c
	u.folders = append(u.folders, c)
	if u.w == nil {
		return c, nil
	}
	return c, u.w.mkdir(f, name)
}

// clear takes what the layer had at a place away, to make room for a later entry.
func (u *unpacker) clear(f *folder, name string) error {
	n := f.node.Child(name)
	if n == nil {
		return nil
	}
	if !n.Whiteout {
		u.replaced = true
		u.forget(n)
	}
	f.node.Delete(name)
	if u.w == nil {
		return nil
	}
	return u.w.remove(f, name)
}

// forget drops the directories at and below n, and all that was resolved
// through n.
func (u *unpacker) forget(n *Node) {
	clear(u.byName)
	u.last = nil
	for _, c := range n.Children() {
		u.forget(c)
	}
	f := u.byNode[n]
	if f == nil {
		return
	}
	delete(u.byNode, n)
	f.gone = true
	if u.w != nil {
		u.w.release(f)
	}
}

// link makes a hard link to an earlier entry or, as overlayfs would, a copy of
// a file that is in a lower layer.
func (u *unpacker) link(f *folder, e *entry) error {
	dir, base := splitName(e.link)
	target, n, err := u.find(dir, base)
	if err != nil {
		return err
	}
	if n == nil {
		return u.copyUp(f, e)
	}
	if n == f.node.Child(e.base) {
		return nil // a link to itself
	}
	if err := u.clear(f, e.base); err != nil {
		return err
	}
	if target.gone {
		return malformed(u.name, "hard link in the place of a parent of %q, its target", e.link)
	}
	f.node.Set(&Node{Name: e.base, Inode: n.Inode})
	if u.w == nil {
		return nil
	}
	return u.w.link(target, base, f, e.base, n.Inode)
}

// find looks for a link's target without making directories.
func (u *unpacker) find(dir, base string) (*folder, *Node, error) {
	f, err := u.last, error(nil)
	if f == nil || u.lastDir != dir {
		f, err = u.resolve(dir, orNil)
	}
	if f == nil || err != nil {
		return nil, nil, err
	}
	n := f.node.Child(base)
	switch {
	case n == nil || n.Whiteout:
		return nil, nil, nil
	case n.IsDir():
		return nil, nil, malformed(u.name, "hard link to the directory %q", f.join(base))
	}
	return f, n, nil
}

func (u *unpacker) copyUp(f *folder, e *entry) error {
	var low *Inode
	if u.lower != nil {
		low = u.lower(e.link)
	}
	if low == nil || low.Kind == Dir {
		return malformed(u.name, "hard link to %q, which is not there", e.link)
	}
	if err := u.clear(f, e.base); err != nil {
		return err
	}
	in := *low
	f.node.Set(&Node{Name: e.base, Inode: &in})
	if u.w == nil {
		return nil
	}
	if err := u.w.copy(f, e.base, &in); err != nil {
		return fmt.Errorf("copy %s from a lower layer: %w", e.link, err)
	}
	if in.Content != nil {
		in.Content = &File{Dir: u.w.dir, Path: f.join(e.base)}
	}
	return nil
}
