package fakeroot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

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
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, statMask, &st); err != nil {
			return &fs.PathError{Op: "statx", Path: path, Err: err}
		}
		a, ok := r.Get(IDOf(&st))
		if !ok {
			return nil
		}
		return enc.Encode(a.entry(rel))
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("save the owners of files in %s: %w", dir, err)
	}
	return nil
}

func (a *Attr) entry(path string) entry {
	e := entry{Path: []byte(path), UID: a.UID, GID: a.GID, Type: a.Type, Rdev: a.Rdev}
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
