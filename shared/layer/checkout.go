package layer

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Form is how a layer stands in a directory.
type Form uint8

const (
	// Overlay is a directory of its own, as overlayfs wants its layers:
	// whiteouts are devices, opaque directories have an attribute.
	Overlay Form = iota
	// Applied is a change of a directory that holds the layers below: a
	// whiteout deletes, an opaque directory is emptied first.
	Applied
)

// CheckoutOptions says how Checkout writes a table. The zero value suits root.
type CheckoutOptions struct {
	Form Form
	// UserXattr, Unprivileged and Lower are as in UnpackOptions.
	UserXattr    bool
	Unprivileged bool
	Lower        func(path string) *Inode
	// Record, where set, is told of each file of which the disk does not say
	// all that the table does: owners, devices and privileged attributes are
	// not written then, and modes that shut the owner out are widened.
	Record func(st *unix.Statx_t, in *Inode)
}

// Checkout writes a table and its contents into a directory. No symlink in the
// directory is followed, no mount point in it is emptied.
func Checkout(ctx context.Context, t *Table, dir string, o CheckoutOptions) error {
	w, err := newWriter(dir, writerOptions{
		userXattr: o.UserXattr, lenient: o.Unprivileged || o.Record != nil, onto: o.Form == Applied, record: o.Record,
	})
	if err != nil {
		return fmt.Errorf("check out layer: %w", err)
	}
	defer w.close()
	c := &checkout{w: w, ctx: ctx, links: sharedInodes(t)}
	w.root.node = t.Root
	if w.onto {
		if err := c.enter(w.root); err != nil {
			return fmt.Errorf("check out layer: %w", err)
		}
	}
	err = c.children(w.root)
	if err == nil {
		err = w.settleAll(c.folders, o.Lower)
	}
	if err != nil {
		return fmt.Errorf("check out layer: %w", err)
	}
	return nil
}

// Imply gives the directories that a layer only passes through the metadata
// that they have in the layers below. It is for layers that were unpacked into
// dir before those below were known.
func Imply(t *Table, dir string, lower func(path string) *Inode) error {
	w, err := newWriter(dir, writerOptions{})
	if err != nil {
		return fmt.Errorf("settle layer: %w", err)
	}
	defer w.close()
	var folders []*folder
	var visit func(f *folder)
	visit = func(f *folder) {
		if f.node.Inode == nil && dirInode(lower(f.path)) != nil {
			folders = append(folders, f)
		}
		for _, n := range f.node.Children() {
			if n.IsDir() {
				visit(&folder{node: n, parent: f, name: n.Name, path: f.join(n.Name), fd: -1})
			}
		}
	}
	w.root.node = t.Root
	visit(w.root)
	if err := w.settleAll(folders, lower); err != nil {
		return fmt.Errorf("settle layer: %w", err)
	}
	return nil
}

// sharedInodes finds the files with several names; each maps to nil.
func sharedInodes(t *Table) map[*Inode]*linkTarget {
	once := make(map[*Inode]bool)
	shared := make(map[*Inode]*linkTarget)
	_ = t.Walk(func(_ string, n *Node) error {
		if n.Inode == nil || n.Inode.Kind == Dir {
			return nil
		}
		if once[n.Inode] {
			shared[n.Inode] = nil
		}
		once[n.Inode] = true
		return nil
	})
	return shared
}

type linkTarget struct {
	f    *folder
	name string
}

type checkout struct {
	ctx     context.Context // of the one call that this is
	w       *writer
	links   map[*Inode]*linkTarget
	folders []*folder
}

func (c *checkout) children(f *folder) error {
	c.folders = append(c.folders, f)
	for _, n := range f.node.Children() {
		if err := c.ctx.Err(); err != nil {
			return context.Cause(c.ctx)
		}
		if err := c.node(f, n); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkout) node(f *folder, n *Node) error {
	switch {
	case n.Whiteout && c.w.onto:
		return c.w.remove(f, n.Name)
	case n.Whiteout:
		return c.w.whiteout(f, n.Name)
	case n.IsDir():
		return c.dir(f, n)
	}
	target, shared := c.links[n.Inode]
	if target != nil {
		return c.w.link(target.f, target.name, f, n.Name, n.Inode)
	}
	if shared {
		c.links[n.Inode] = &linkTarget{f: f, name: n.Name}
	}
	return c.w.copy(f, n.Name, n.Inode)
}

func (c *checkout) dir(f *folder, n *Node) error {
	d := &folder{node: n, parent: f, name: n.Name, path: f.join(n.Name), fd: -1, heir: f.heir}
	there, err := c.there(f, n.Name)
	if err != nil {
		return err
	}
	if !there {
		d.made = true
		if err := c.w.mkdir(f, n.Name); err != nil {
			return err
		}
		return c.children(d)
	}
	if err := c.enter(d); err != nil {
		return err
	}
	return c.children(d)
}

// there tells whether a directory is there already, to be changed in place.
func (c *checkout) there(f *folder, name string) (bool, error) {
	if !c.w.onto {
		return false, nil
	}
	parent, err := c.w.open(f)
	if err != nil {
		return false, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && err != unix.ENOENT {
		return false, c.w.fail("stat", f, name, err)
	}
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// enter prepares a directory that was there before for what comes into it.
func (c *checkout) enter(f *folder) error {
	fd, err := c.w.open(f)
	if err != nil {
		return err
	}
	if err := c.w.look(f, fd); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return c.w.fail("stat", f, "", err)
	}
	f.before = &Inode{Kind: Dir, ModTime: timeOf(st.Mtim)}
	if f.node.Opaque {
		if err := emptyAt(fd, "."); err != nil {
			return c.w.fail("empty", f, "", err)
		}
	}
	return nil
}
