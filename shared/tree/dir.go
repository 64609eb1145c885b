package tree

import (
	"fmt"
	"io/fs"
	"syscall"

	"github.com/strake-build/strake/shared/layer"
)

// Dir is a directory of an Editor, held open: work in it needs no search from
// the root. It may be used until the directory is removed or replaced. Dirs of
// one Editor may be used in any order, and beside the Editor's own methods.
type Dir struct {
	up    *Dir // nil for the root
	name  string
	path  string
	inode *layer.Inode // as it was when the Dir was opened
	plain bool
	top   *layer.Node // in the new layer; nil as long as that says nothing about the directory
	stack stack
}

// OpenRoot opens the root directory for editing.
func (e *Editor) OpenRoot() *Dir {
	f := e.root()
	return &Dir{inode: f.Inode, plain: f.plain, top: e.top.Root, stack: f.stack}
}

// Open opens the directory at p, of which no part may be a symlink (see Resolve).
func (e *Editor) Open(p string) (*Dir, error) { return e.openNames(layer.Split(p)) }

func (e *Editor) openNames(names []string) (*Dir, error) {
	d := e.OpenRoot()
	for _, name := range names {
		var err error
		if d, err = d.Open(name); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Open opens the directory called name in d.
func (d *Dir) Open(name string) (*Dir, error) {
	f := d.Child(name)
	if f == nil {
		return nil, fs.ErrNotExist
	}
	if !f.IsDir() {
		return nil, fmt.Errorf("%s: %w", name, syscall.ENOTDIR)
	}
	c := &Dir{up: d, name: name, path: f.Path, inode: f.Inode, plain: f.plain, stack: f.stack}
	if d.top != nil {
		c.top = d.top.Child(name)
	}
	return c, nil
}

// Path is the path of the directory, relative and clean.
func (d *Dir) Path() string { return d.path }

// Inode is the directory's metadata.
func (d *Dir) Inode() *layer.Inode {
	d.sync()
	if d.top != nil && d.top.Inode != nil {
		return d.top.Inode
	}
	return d.inode
}

// SetInode changes the directory's metadata.
func (d *Dir) SetInode(ino *layer.Inode) { d.touch().Inode = ino }

// Child returns the entry called name, or nil.
func (d *Dir) Child(name string) *File {
	d.sync()
	f := d.stack.child(name)
	if f != nil {
		f.Path = join(d.path, name)
	}
	return f
}

// Put makes the entry called name what ino says, replacing what is there; a
// directory put onto a directory changes its metadata only.
func (d *Dir) Put(name string, ino *layer.Inode) {
	top := d.touch()
	if ino.Kind != layer.Dir {
		top.Set(&layer.Node{Name: name, Inode: ino})
		return
	}
	old := top.Child(name)
	if old != nil && old.IsDir() {
		old.Inode = ino
		return
	}
	below := d.stack[1:].child(name)
	hides := old != nil && below != nil && below.IsDir()
	top.Set(&layer.Node{Name: name, Inode: ino, Opaque: hides})
}

// Remove takes the entry called name and what is below it away. It is no error
// when there is none.
func (d *Dir) Remove(name string) {
	if d.Child(name) == nil {
		return
	}
	top := d.touch()
	top.Delete(name)
	if d.stack[1:].child(name) != nil {
		top.Set(&layer.Node{Name: name, Whiteout: true})
	}
}

// touch returns the new layer's node of the directory, adding it and those
// above with the metadata they have.
func (d *Dir) touch() *layer.Node {
	d.sync()
	if d.top != nil {
		return d.top
	}
	d.top = &layer.Node{Name: d.name}
	if !d.plain {
		d.top.Inode = d.inode
	}
	d.up.touch().Set(d.top)
	d.stack = append(stack{d.top}, d.stack...)
	return d.top
}

// sync finds the new layer's node when somebody else has added it.
func (d *Dir) sync() {
	if d.top != nil {
		return
	}
	d.up.sync()
	if d.up.top == nil {
		return
	}
	if n := d.up.top.Child(d.name); n != nil {
		d.top = n
		d.stack = append(stack{n}, d.stack...)
	}
}
