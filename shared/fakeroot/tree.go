package fakeroot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// entry is a line of what SaveTree writes. Names are bytes: they need not be UTF-8.
type entry struct {
	Path   []byte            `json:"path"`
	UID    uint32            `json:"uid,omitempty"`
	GID    uint32            `json:"gid,omitempty"`
	Mode   *uint32           `json:"mode,omitempty"`
	Type   uint32            `json:"type,omitempty"`
	Rdev   uint64            `json:"rdev,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
}

// statMask is what an ID and the default of an Attr are read from.
const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// SaveTree writes what is recorded of dir and the files below it, by their paths, as lines of JSON. What it writes
// outlives the inodes: LoadTree finds the files again after dir was copied or unpacked elsewhere.
func (r *Record) SaveTree(dir string, w io.Writer) error {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	out := bufio.NewWriter(w)
	s := saver{rec: r, out: json.NewEncoder(out)}
	err = s.file(root, "", unix.AT_EMPTY_PATH, ".")
	err = errors.Join(err, s.below(os.NewFile(uintptr(root), dir), "."), out.Flush())
	if err != nil {
		return fmt.Errorf("save the owners of files in %s: %w", dir, err)
	}
	return nil
}

// saver goes through a directory by descriptors, so that no path is too long.
type saver struct {
	rec *Record
	out *json.Encoder
}

// below saves what is in d, and closes it.
func (s *saver) below(d *os.File, name string) error {
	defer d.Close()
	list, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := s.file(int(d.Fd()), e.Name(), unix.AT_SYMLINK_NOFOLLOW, path.Join(name, e.Name())); err != nil {
			return err
		}
		if !e.IsDir() {
			continue
		}
		fd, err := unix.Openat(int(d.Fd()), e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: path.Join(name, e.Name()), Err: err}
		}
		if err := s.below(os.NewFile(uintptr(fd), e.Name()), path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// file saves one file, if something is recorded of it.
func (s *saver) file(dir int, name string, flags int, full string) error {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags, statMask, &st); err != nil {
		return &fs.PathError{Op: "statx", Path: full, Err: err}
	}
	a, ok := s.rec.Get(IDOf(&st))
	if !ok {
		return nil
	}
	return s.out.Encode(a.entry(full))
}

func (a *Attr) entry(full string) entry {
	e := entry{Path: []byte(full), UID: a.UID, GID: a.GID, Type: a.Type, Rdev: a.Rdev}
	if a.HasMode {
		e.Mode = &a.Mode
	}
	if len(a.Xattrs) > 0 {
		e.Xattrs = make(map[string][]byte, len(a.Xattrs))
		for k, v := range a.Xattrs {
			e.Xattrs[k] = []byte(v)
		}
	}
	return e
}

func (e *entry) attr() Attr {
	a := Attr{UID: e.UID, GID: e.GID, Type: e.Type & unix.S_IFMT, Rdev: e.Rdev}
	if e.Mode != nil {
		a.Mode, a.HasMode = *e.Mode, true
	}
	if len(e.Xattrs) > 0 {
		a.Xattrs = make(map[string]string, len(e.Xattrs))
		for k, v := range e.Xattrs {
			a.Xattrs[k] = string(v)
		}
	}
	return a
}

// LoadTree records what SaveTree wrote, of the files that are in dir now. Those that are gone are left out; no symlink
// is followed, and no name leads out of dir.
func (r *Record) LoadTree(dir string, rd io.Reader) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	dec := json.NewDecoder(rd)
	for {
		var e entry
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("load the owners of files in %s: %w", dir, err)
		}
		if err := r.load(root, &e); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("load the owner of %s in %s: %w", e.Path, dir, err)
		}
	}
}

func (r *Record) load(root int, e *entry) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(root, string(e.Path), &how)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return fs.ErrNotExist // a symlink has taken the place of a directory
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &st); err != nil {
		return err
	}
	if e.Type != 0 && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fs.ErrNotExist // the placeholder of the device has gone
	}
	r.Put(IDOf(&st), e.attr())
	return nil
}
