package tree

import (
	"io/fs"
	"path"
	"syscall"

	"github.com/strake-build/strake/shared/layer"
)

// Editor makes a new layer on top of others: what is put and removed is seen by
// its View at once, and its Table is the changeset in the end. It is for one
// goroutine.
type Editor struct {
	*View
	top *layer.Table
}

// NewEditor starts a new layer on top of base.
func NewEditor(base *View) *Editor {
	top := layer.NewTable()
	return &Editor{View: &View{tables: append([]*layer.Table{top}, base.tables...)}, top: top}
}

// Table ends the editing and returns the changeset.
func (e *Editor) Table() *layer.Table { return e.top.Seal() }

// Put makes p what ino says, replacing what is there; a directory put onto a
// directory changes its metadata only. p is taken as it is, without following
// symlinks (see Resolve); its parent must be a directory.
func (e *Editor) Put(p string, ino *layer.Inode) error {
	names := layer.Split(p)
	if len(names) == 0 {
		if ino.Kind != layer.Dir {
			return &fs.PathError{Op: "replace", Path: "/", Err: syscall.EBUSY}
		}
		e.top.Root.Inode = ino
		return nil
	}
	d, err := e.openNames(names[:len(names)-1])
	if err != nil {
		return &fs.PathError{Op: "make", Path: path.Clean("/" + p), Err: err}
	}
	d.Put(names[len(names)-1], ino)
	return nil
}

// Remove takes p and what is below it away, without following a symlink at p.
// It is no error when p is not there.
func (e *Editor) Remove(p string) error {
	names := layer.Split(p)
	if len(names) == 0 {
		return &fs.PathError{Op: "remove", Path: "/", Err: syscall.EBUSY}
	}
	d, err := e.openNames(names[:len(names)-1])
	if err != nil {
		return nil //nolint:nilerr // what is not there needs no removal
	}
	d.Remove(names[len(names)-1])
	return nil
}
