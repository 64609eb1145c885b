package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSmall is how long a file that is no blob may be, tables of contents excepted.
const maxSmall = 1 << 20

// aside is a file being written. It is locked for as long as it is, so that
// nobody takes it for left behind.
type aside struct {
	s    *Store
	f    *os.File
	name string // relative to the store
	done bool
}

// aside begins a file below ingest; label is for those who look there.
func (s *Store) aside(label string) (*aside, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	if err := s.mkdirAll("ingest"); err != nil {
		return nil, err
	}
	a := &aside{s: s, name: filepath.Join("ingest", label+"."+rand.Text())}
	if err := s.fault("create", a.name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(a.name), os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, s.fileMode)
	if err != nil {
		return nil, err
	}
	a.f = f
	_ = s.flock(f, unix.LOCK_EX|unix.LOCK_NB) // politeness only
	return a, nil
}

func (a *aside) Write(p []byte) (int, error) {
	if err := a.s.fault("write", a.name); err != nil {
		// A full disk takes a part of what it is given.
		n, _ := a.f.Write(p[:len(p)/2])
		return n, err
	}
	return a.f.Write(p)
}

// commit puts the file in its place for good.
func (a *aside) commit(name string) error {
	s := a.s
	if err := a.f.Chmod(s.fileMode); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := s.fault("sync", a.name); err != nil {
		return err
	}
	if err := a.f.Sync(); err != nil {
		return err
	}
	if err := s.mkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	if err := s.rename(a.name, name); err != nil {
		return err
	}
	a.done = true
	return s.syncDir(filepath.Dir(name))
}

// close ends the work on the file, and removes it unless it was committed.
func (a *aside) close() error {
	var err error
	if !a.done {
		err = os.Remove(a.s.path(a.name))
	}
	return errors.Join(err, a.f.Close())
}

// rename moves a file into its place. A server of a network file system that
// answers a repeated question says that there is no such file any more: then
// what counts is what is there.
func (s *Store) rename(from, to string) error {
	if err := s.fault("rename", to); err != nil {
		return err
	}
	before, err := os.Lstat(s.path(from))
	if err != nil {
		return err
	}
	err = os.Rename(s.path(from), s.path(to))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if after, lerr := os.Lstat(s.path(to)); lerr == nil && os.SameFile(before, after) {
		return nil
	}
	return err
}

// replace writes a small file whole.
func (s *Store) replace(name string, content []byte) error {
	a, err := s.aside(filepath.Base(filepath.Dir(name)))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = a.Write(content)
	if err == nil {
		err = a.commit(name)
	}
	if err = errors.Join(err, a.close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// mkdirAll makes directories that others can use, whatever the umask.
func (s *Store) mkdirAll(name string) error {
	if name == "." || name == "" {
		return nil
	}
	fi, err := os.Lstat(s.path(name))
	if err == nil {
		if !fi.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: s.path(name), Err: syscall.ENOTDIR}
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.readOnly {
		return ErrReadOnly
	}
	if err := s.mkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	if err := s.fault("mkdir", name); err != nil {
		return err
	}
	if err := os.Mkdir(s.path(name), s.dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	_ = os.Chmod(s.path(name), s.dirMode) // the umask's part; not every file system has modes
	return nil
}

// syncDir makes a rename survive a power cut, where the file system can say so.
func (s *Store) syncDir(name string) error {
	if err := s.fault("syncdir", name); err != nil {
		return err
	}
	d, err := os.Open(s.path(name))
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// remove takes a file away; it is no error when it is gone.
func (s *Store) remove(name string) error {
	if s.readOnly {
		return ErrReadOnly
	}
	if err := s.fault("remove", name); err != nil {
		return err
	}
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

var errNotFile = errors.New("not a regular file")

// openRegular opens a file, and nothing that only has a file's name: a symlink
// would lead out of the volume, a pipe would hang us.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ESTALE) { // of a network file system, once
		f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotFile}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, fi, nil
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, fi, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi.Size() > limit {
		return nil, fmt.Errorf("read %s: %d bytes, allowed are %d", path, fi.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
