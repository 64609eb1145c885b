package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copier copies files. copied, if set, is told of each copy, which may be more
// than the disk says of it.
type copier struct{ copied func(from, to *unix.Statx_t) }

// tree copies a file or a tree with modes, owners and times; to must not be
// there. No symlink is followed. Sockets in a tree are left out.
func (c *copier) tree(fromDir int, from string, toDir int, to string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fromDir, from, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = c.dir(fromDir, from, toDir, to)
	case unix.S_IFREG:
		err = copyFile(fromDir, from, toDir, to)
	case unix.S_IFLNK:
		if err := copyLink(fromDir, from, toDir, to, &st); err != nil {
			return err
		}
		return c.tell(fromDir, from, toDir, to)
	case unix.S_IFSOCK:
		return fmt.Errorf("copy %s: a socket on another filesystem than the root: %w", from, ErrUnsupported)
	default:
		err = unix.Mknodat(toDir, to, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := likeInode(toDir, to, &st); err != nil {
		return err
	}
	return c.tell(fromDir, from, toDir, to)
}

func (c *copier) tell(fromDir int, from string, toDir int, to string) error {
	if c.copied == nil {
		return nil
	}
	var a, b unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	err := errors.Join(
		unix.Statx(fromDir, from, unix.AT_SYMLINK_NOFOLLOW, mask, &a),
		unix.Statx(toDir, to, unix.AT_SYMLINK_NOFOLLOW, mask, &b))
	if err == nil {
		c.copied(&a, &b)
	}
	return err
}

// likeInode sets owner before mode, because a change of owner clears setuid.
func likeInode(dir int, name string, st *unix.Stat_t) error {
	if err := unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the owner of %s: %w", name, err)
	}
	if err := unix.Fchmodat(dir, name, st.Mode&0o7777, 0); err != nil {
		return fmt.Errorf("set the mode of %s: %w", name, err)
	}
	if err := unix.UtimesNanoAt(dir, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the times of %s: %w", name, err)
	}
	return nil
}

func copyLink(fromDir int, from string, toDir int, to string, st *unix.Stat_t) error {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fromDir, from, target)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	if err := unix.Symlinkat(string(target[:n]), toDir, to); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return unix.Fchownat(toDir, to, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

func openAt(dir int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func copyFile(fromDir int, from string, toDir int, to string) error {
	src, err := openAt(fromDir, from, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openAt(toDir, to, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func (c *copier) dir(fromDir int, from string, toDir int, to string) error {
	src, err := openAt(fromDir, from, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := unix.Mkdirat(toDir, to, 0o700); err != nil {
		return err
	}
	dst, err := openAt(toDir, to, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dst.Close()
	names, err := src.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := c.tree(int(src.Fd()), name, int(dst.Fd()), name)
		if err != nil && !errors.Is(err, ErrUnsupported) { // a socket
			return err
		}
	}
	return nil
}
