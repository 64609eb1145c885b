package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file by which a directory is locked: flock(2) of a directory
// itself is refused on NFS.
const lockName = "lock"

// buildPrefix begins the names of workspaces.
const buildPrefix = "build-"

// claim makes a new directory below parent, locked for as long as the process
// lives or the file is open, and returns the directories of builds that ended
// without removing theirs, locked too. The lock of the parent makes making and
// looking one step each: nobody takes a directory for left that is just being made.
func claim(parent string) (dir string, lock *os.File, left []*os.File, err error) {
	all, err := lockFile(filepath.Join(parent, lockName), unix.LOCK_EX)
	if err != nil {
		return "", nil, nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	left = abandoned(parent)
	if dir, err = os.MkdirTemp(parent, buildPrefix); err == nil {
		lock, err = lockFile(filepath.Join(dir, lockName), unix.LOCK_EX)
	}
	return dir, lock, left, err
}

// abandoned locks the directories that nobody has locked.
func abandoned(parent string) (left []*os.File) {
	dirs, _ := filepath.Glob(filepath.Join(parent, buildPrefix+"*")) // the pattern is well-formed
	for _, d := range dirs {
		f, err := lockFile(filepath.Join(d, lockName), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			left = append(left, f)
		}
	}
	return left
}

// removeAll removes directories by the files that lock them. What cannot be
// removed hinders nobody: the next build tries again.
func removeAll(left []*os.File) {
	for _, f := range left {
		_ = os.RemoveAll(filepath.Dir(f.Name()))
		_ = f.Close()
	}
}

// lockFile opens and locks a file; the lock ends with the file.
func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	return f, nil
}
