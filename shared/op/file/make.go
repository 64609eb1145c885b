package file

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// fresh is the inode of something that an action makes out of nothing.
func (s *step) fresh(kind layer.Kind, mode uint32, t *time.Time) *layer.Inode {
	i := &layer.Inode{Kind: kind, Mode: mode, ModTime: s.now}
	if t != nil {
		i.ModTime = *t
	}
	if s.owner != nil {
		i.UID, i.GID = s.owner.uid, s.owner.gid
	}
	return i
}

// mkdirAll opens the directory p, of which no part is a symlink, making it and
// those above where they are missing. What is there stays as it is.
func (s *step) mkdirAll(p string, mode uint32, t *time.Time) (*tree.Dir, error) {
	d := s.editor.OpenRoot()
	for _, name := range layer.Split(p) {
		f := d.Child(name)
		if f == nil {
			d.Put(name, s.fresh(layer.Dir, mode, t))
		} else if !f.IsDir() {
			return nil, &fs.PathError{Op: "mkdir", Path: "/" + f.Path, Err: syscall.ENOTDIR}
		}
		var err error
		if d, err = d.Open(name); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// place opens the directory in which p lies and says what p is called there,
// and what is there now, with all symlinks in p followed. The name of the root is "".
func (s *step) place(p string) (*tree.Dir, string, *tree.File, error) {
	at, f, err := s.editor.Resolve(path.Clean("/"+p), true)
	if err != nil {
		return nil, "", nil, err
	}
	if at == "" {
		return s.editor.OpenRoot(), "", f, nil
	}
	d, err := s.editor.Open(path.Dir(at))
	if err != nil {
		return nil, "", nil, &fs.PathError{Op: "open", Path: path.Dir("/" + at), Err: err}
	}
	return d, path.Base(at), f, nil
}

func (s *step) mkdir(a *graph.Mkdir) error {
	mode := a.Mode & 0o777
	if a.MakeParents {
		at, _, err := s.editor.Resolve(path.Clean("/"+a.Path), true)
		if err != nil {
			return err
		}
		_, err = s.mkdirAll(at, mode, a.Timestamp)
		return err
	}
	d, name, f, err := s.place(a.Path)
	if err != nil || f != nil { // as in BuildKit, whatever is there is fine
		return err
	}
	d.Put(name, s.fresh(layer.Dir, mode, a.Timestamp))
	return nil
}

func (s *step) mkfile(a *graph.Mkfile) error {
	d, name, f, err := s.place(a.Path)
	if err != nil {
		return err
	}
	if f != nil && f.IsDir() {
		return &fs.PathError{Op: "create", Path: "/" + f.Path, Err: syscall.EISDIR}
	}
	i := s.fresh(layer.Regular, a.Mode&0o777, a.Timestamp)
	i.Size = int64(len(a.Data))
	if i.Size > 0 {
		i.Content = layer.Bytes(a.Data)
	}
	d.Put(name, i)
	return nil
}

func (s *step) symlink(a *graph.Symlink) error {
	d, name, f, err := s.place(a.New)
	if err != nil {
		return err
	}
	if f != nil {
		return &fs.PathError{Op: "symlink", Path: "/" + f.Path, Err: syscall.EEXIST}
	}
	i := s.fresh(layer.Symlink, 0o777, a.Timestamp)
	i.Target = a.Old
	d.Put(name, i)
	return nil
}

func (s *step) rm(a *graph.Rm) error {
	if !a.AllowWildcard {
		return s.remove(a.Path, a.AllowNotFound)
	}
	matches, err := wildcards(s.editor.View, cleanPath(a.Path), false)
	if a.AllowNotFound && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range matches {
		if err := s.remove(m, a.AllowNotFound); err != nil {
			return err
		}
	}
	return nil
}

// remove takes p away. Symlinks on the way to it are followed, not one at p.
func (s *step) remove(p string, allowNotFound bool) error {
	p = path.Clean("/" + p)
	if p == "/" {
		return &fs.PathError{Op: "remove", Path: p, Err: syscall.EBUSY}
	}
	f, err := s.editor.Lstat(p)
	if err != nil {
		if allowNotFound && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
			return nil
		}
		return err
	}
	return s.editor.Remove(f.Path)
}

// cleanPath cleans p and keeps whether it ended in "/" or "/.".
func cleanPath(p string) string {
	c := path.Join("/", p)
	switch {
	case strings.HasSuffix(p, "/."):
		if c != "/" {
			c += "/"
		}
		c += "."
	case strings.HasSuffix(p, "/") && c != "/":
		c += "/"
	}
	return c
}
