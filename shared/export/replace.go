package export

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// replace writes a file aside and renames it into place, so that nobody sees
// a half of it, and a failure leaves what was there. Where only the file itself
// may be written (a pipe, a device, a bind-mounted file, a directory without
// write permission) it is written in place.
func replace(path string, perm fs.FileMode, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a symlink stays one
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return inPlace(path, perm, write)
	}
	aside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text())
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return inPlace(path, perm, write)
	}
	if err != nil {
		return err
	}
	defer os.Remove(aside) // gone already after the rename
	if err := fill(f, write); err != nil {
		return err
	}
	err = os.Rename(aside, path)
	// rename(2): EBUSY, the target is a mount point.
	if !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return inPlace(path, perm, func(w io.Writer) error { return copyFile(w, aside) })
}

func inPlace(path string, perm fs.FileMode, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	return fill(f, write)
}

// fill writes f and closes it. Errors that show at the close count: network
// file systems report a full disk there.
func fill(f *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, 256<<10)
	err := write(w)
	if err == nil {
		err = w.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// makeParents makes the directory that path lies in.
func makeParents(path string, perm fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), perm); err != nil {
		return fmt.Errorf("make directory for %s: %w", path, err)
	}
	return nil
}
