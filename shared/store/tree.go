package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Tree is a blob unpacked. It stays for as long as it is open, where the file
// system has locks.
type Tree struct {
	Dir  string // the files
	Note []byte // what whoever made it had to say about it
	lock *os.File
}

// Close lets the tree be collected.
func (t *Tree) Close() error { return t.lock.Close() }

const treeNote = "note"

// Tree opens a blob's tree of some kind; fs.ErrNotExist where there is none.
func (s *Store) Tree(d v1.Hash, kind string) (*Tree, error) {
	name, err := treeName(d, kind)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(name), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	_ = s.flock(f, unix.LOCK_SH|unix.LOCK_NB) // whoever has the other kind is about to remove it
	note, err := readSmall(s.path(filepath.Join(name, treeNote)), maxSmall)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Tree{Dir: s.path(filepath.Join(name, "fs")), Note: note, lock: f}, nil
}

// PutTree makes a blob's tree: fill puts files into an empty directory, and says
// of what kind they are and what is to be noted. The tree is seen by others when it
// is complete and on the disk; one of that kind that is there already stays.
func (s *Store) PutTree(d v1.Hash, fill func(dir string) (kind string, note []byte, err error)) (err error) {
	if err := checkDigest(d); err != nil {
		return err
	}
	if s.readOnly {
		return ErrReadOnly
	}
	if err := errors.Join(s.mkdirAll("ingest"), s.mkdirAll("trees")); err != nil {
		return err
	}
	tmp := filepath.Join("ingest", "tree-"+d.Hex+"."+rand.Text())
	if err := s.mkdirAll(filepath.Join(tmp, "fs")); err != nil {
		return err
	}
	lock, err := os.Open(s.path(tmp))
	if err != nil {
		return err
	}
	_ = s.flock(lock, unix.LOCK_EX|unix.LOCK_NB)
	defer func() { err = errors.Join(err, lock.Close(), os.RemoveAll(s.path(tmp))) }()
	kind, note, err := fill(s.path(filepath.Join(tmp, "fs")))
	if err != nil {
		return err
	}
	name, err := treeName(d, kind)
	if err != nil {
		return err
	}
	if err := s.writeNote(filepath.Join(tmp, treeNote), note); err != nil {
		return err
	}
	// One call for all the files: one for each would take minutes.
	if err := s.fault("sync", tmp); err != nil {
		return err
	}
	if err := unix.Syncfs(int(lock.Fd())); err != nil { //nolint:gosec // a descriptor fits
		return fmt.Errorf("sync %s: %w", tmp, err)
	}
	if err := s.rename(tmp, name); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
			return nil // somebody else was faster
		}
		return err
	}
	return s.syncDir("trees")
}

// Trees lists the kinds of trees that a blob has.
func (s *Store) Trees(d v1.Hash) (kinds []string) {
	if checkDigest(d) != nil {
		return nil
	}
	found, _ := filepath.Glob(s.path(filepath.Join("trees", d.Hex+".*")))
	for _, p := range found {
		_, kind, _ := strings.Cut(filepath.Base(p), ".")
		kinds = append(kinds, kind)
	}
	return kinds
}

func (s *Store) writeNote(name string, note []byte) error {
	if err := s.fault("write", name); err != nil {
		return err
	}
	if err := os.WriteFile(s.path(name), note, s.fileMode); err != nil {
		return err
	}
	return os.Chmod(s.path(name), s.fileMode)
}

func treeName(d v1.Hash, kind string) (string, error) {
	if err := checkDigest(d); err != nil {
		return "", err
	}
	if err := checkKind(kind); err != nil {
		return "", err
	}
	return filepath.Join("trees", d.Hex+"."+kind), nil
}

// DropTree removes a tree that is not what it was, unless somebody uses it.
func (s *Store) DropTree(d v1.Hash, kind string) error {
	name, err := treeName(d, kind)
	if err != nil {
		return err
	}
	return s.dropTree(name)
}

func (s *Store) dropTrees(d v1.Hash) error {
	found, _ := filepath.Glob(s.path(filepath.Join("trees", d.Hex+".*")))
	var errs []error
	for _, p := range found {
		errs = append(errs, s.dropTree(filepath.Join("trees", filepath.Base(p))))
	}
	return errors.Join(errs...)
}

// dropTree moves a tree away first: nobody is to find a half of it.
func (s *Store) dropTree(name string) error {
	if s.readOnly {
		return ErrReadOnly
	}
	f, err := os.OpenFile(s.path(name), os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer f.Close()
	if s.flock(f, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK {
		return nil // in use: its time will come
	}
	if err := s.mkdirAll("ingest"); err != nil {
		return err
	}
	away := filepath.Join("ingest", "gone-"+strings.ReplaceAll(filepath.Base(name), ".", "-")+"."+rand.Text())
	if err := s.rename(name, away); err != nil {
		return err
	}
	if err := s.fault("remove", away); err != nil {
		return err
	}
	return os.RemoveAll(s.path(away))
}
