package disposable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Empty removes everything from the root but what stays and what is mounted,
// and what earlier builds have put aside. Nothing that is mounted is entered, no
// symlink is followed.
func (r *Root) Empty() error {
	left, _ := filepath.Glob(filepath.Join(r.home, ".aside-*")) // of steps whose builder was killed
	for _, dir := range append(left, filepath.Join(r.home, stages)) {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove what an earlier build put aside: %w", err)
		}
	}
	places, err := r.places()
	if err != nil {
		return err
	}
	fd, err := unix.Open(r.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: r.dir, Err: err}
	}
	top := os.NewFile(uintptr(fd), r.dir)
	defer top.Close()
	if err := empty(top, "", places); err != nil {
		return fmt.Errorf("empty the root filesystem: %w", err)
	}
	return r.relink(r.relinked)
}

func empty(dir *os.File, name string, places *Places) error {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := remove(dir, n, path.Join(name, n), places); err != nil {
			return err
		}
	}
	return nil
}

func remove(parent *os.File, base, name string, places *Places) error {
	if places.Reserved(name) {
		return nil
	}
	fd := int(parent.Fd())
	err := unix.Unlinkat(fd, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EBUSY) { // EBUSY: mounted just now
		return nil
	}
	var st unix.Statx_t
	if serr := unix.Statx(fd, base, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st); serr != nil {
		return &fs.PathError{Op: "stat", Path: "/" + name, Err: serr}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return &fs.PathError{Op: "remove", Path: "/" + name, Err: err}
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil
	}
	return removeDir(parent, base, name, places)
}

func removeDir(parent *os.File, base, name string, places *Places) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(parent.Fd()), base, flags, 0)
	if errors.Is(err, unix.EACCES) {
		// Its owner, whom we are, shut himself out.
		if err = unix.Fchmodat(int(parent.Fd()), base, 0o700, 0); err == nil {
			fd, err = unix.Openat(int(parent.Fd()), base, flags, 0)
		}
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: "/" + name, Err: err}
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	if !places.Anchored(name) {
		_ = unix.Fchmod(fd, 0o700) // it may be shut for writing; another's is not ours to empty anyway
	}
	if err := empty(dir, name, places); err != nil {
		return err
	}
	if places.Anchored(name) {
		return nil
	}
	err = unix.Unlinkat(int(parent.Fd()), base, unix.AT_REMOVEDIR)
	switch {
	case err == nil, errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY): // something is mounted there, or below
		return nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM): // made by the runtime, as root
		return nil
	}
	return &fs.PathError{Op: "remove", Path: "/" + name, Err: err}
}
