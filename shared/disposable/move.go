package disposable

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Park moves all of the stage that is in the root into a new directory, by
// renaming, and returns it. Directories that must stay, because something is
// kept or mounted below them or because they are the image's own, stay empty
// but for that; their metadata is to be set again after Unpark.
func (r *Root) Park() (string, error) {
	r.next++
	dir := filepath.Join(r.home, stages, strconv.Itoa(r.next))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("put a stage aside: %w", err)
	}
	places, err := r.places()
	if err != nil {
		return "", err
	}
	m := mover{from: r.dir, to: dir, places: places}
	if err := m.dir(""); err != nil {
		return "", fmt.Errorf("put a stage aside: %w", err)
	}
	return dir, nil
}

// Unpark moves what Park has moved back into the root, which must be empty.
func (r *Root) Unpark(dir string) error {
	places, err := r.places()
	if err != nil {
		return err
	}
	m := mover{from: dir, to: r.dir, places: places, home: true}
	if err := m.dir(""); err != nil {
		return fmt.Errorf("put a stage back in place: %w", err)
	}
	return os.RemoveAll(dir)
}

// mover moves a tree by renaming as little as it must.
type mover struct {
	from, to string
	places   *Places
	home     bool // from is where stages are put aside: nothing is mounted there
}

func (m *mover) dir(name string) error {
	entries, err := os.ReadDir(filepath.Join(m.from, name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := m.entry(path.Join(name, e.Name()), e.IsDir()); err != nil {
			return err
		}
	}
	return nil
}

func (m *mover) entry(name string, isDir bool) error {
	if m.places.Reserved(name) {
		return nil
	}
	from, to := filepath.Join(m.from, name), filepath.Join(m.to, name)
	if isDir && m.places.Anchored(name) {
		return m.through(name)
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case isDir && (errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST)):
		// EXDEV: a directory of the image's own layers (Documentation/filesystems/overlayfs.rst,
		// "renaming directories"). EBUSY: something is mounted there since. EEXIST: it stayed when
		// the stage that is there now came.
		return m.through(name)
	}
	return fmt.Errorf("move %s: %w", from, err)
}

// through moves what is in a directory instead of the directory.
func (m *mover) through(name string) error {
	to := filepath.Join(m.to, name)
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return m.dir(name)
}
