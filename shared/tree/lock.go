package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// buildPrefix begins the names of workspaces.
const buildPrefix = "build-"

// claim makes a new directory below parent, locked for as long as the process
// lives or lock is open, and returns the directories of builds that ended without
// removing theirs, locked too. The parent's lock makes that one step: nobody takes
// a directory for left that is just being made.
func claim(parent string) (dir string, lock *os.File, left []*os.File, err error) {
	all, err := lockDir(parent+"/.", unix.LOCK_EX) // which may be a symlink
	if noLocks(err) {
		// Nothing can be said about others here.
		dir, err = os.MkdirTemp(parent, buildPrefix)
		return dir, nil, nil, err
	}
	if err != nil {
		return "", nil, nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	left = abandoned(parent)
	if dir, err = os.MkdirTemp(parent, buildPrefix); err == nil {
		lock, err = lockDir(dir, unix.LOCK_EX)
	}
	return dir, lock, left, err
}

// abandoned locks the directories that nobody has locked.
func abandoned(parent string) (left []*os.File) {
	dirs, _ := filepath.Glob(filepath.Join(parent, buildPrefix+"*")) // what cannot be read has none
	for _, d := range dirs {
		if f, err := lockDir(d, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			left = append(left, f)
		}
	}
	return left
}

// lockDir locks a directory (flock(2)); the lock ends with the file, or with the
// process. A directory needs no file in it for that, which would stay behind.
func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how) //nolint:gosec // a descriptor fits
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// noLocks tells whether directories cannot be locked at all: NFS wants files that
// are open for writing.
func noLocks(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EBADF)
}
