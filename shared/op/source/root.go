package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// root is a directory held open. What is opened through it lies below it, also
// while somebody puts symlinks in the way. It is closed by the garbage
// collector, when the last file of its table is gone.
type root struct {
	f *os.File
}

func openRoot(dir string) (*root, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &root{f: f}, nil
}

// resolveInside makes openat2(2) refuse every symlink, so that a path means
// what it meant when the directory was read.
const resolveInside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// open returns a descriptor of what is at p, "" being the directory itself.
// No part of p may be a symlink: that is ELOOP or ENOTDIR.
func (r *root) open(p string, flags int) (int, error) {
	defer runtime.KeepAlive(r.f)
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	if p == "" {
		p = "."
	}
	how := &unix.OpenHow{Flags: uint64(flags), Resolve: resolveInside}
	fd, err := retry(func() (int, error) { return unix.Openat2(int(r.f.Fd()), p, how) })
	switch err {
	case unix.ENOSYS, unix.EPERM, unix.ENAMETOOLONG:
		// An old kernel, a seccomp filter that does not know openat2, or a
		// tree deeper than PATH_MAX.
		return r.step(p, flags)
	}
	return fd, err
}

// step is open with one openat(2) for each name.
func (r *root) step(p string, flags int) (int, error) {
	at := int(r.f.Fd())
	names := strings.Split(p, "/")
	for i, name := range names {
		if name == "" || name == ".." {
			return -1, unix.EXDEV
		}
		how := flags
		if i < len(names)-1 {
			how = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		next, err := retry(func() (int, error) { return unix.Openat(at, name, how, 0) })
		if i > 0 {
			_ = unix.Close(at) // O_PATH: there is nothing to lose
		}
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// retry repeats a call that a signal interrupted (Go's own preemption on slow
// file systems) or that a rename elsewhere disturbed (openat2(2), EAGAIN).
func retry(call func() (int, error)) (int, error) {
	for range 100 {
		n, err := call()
		if err != unix.EINTR && err != unix.EAGAIN {
			return n, err
		}
	}
	return -1, unix.EAGAIN
}

// lstat looks at p without opening it.
func (r *root) lstat(p string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := r.in(p, func(dir int, name string) error {
		return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

// readlink returns what the symlink at p says.
func (r *root) readlink(p string) (string, error) {
	var target string
	err := r.in(p, func(dir int, name string) (err error) {
		target, err = readlinkat(dir, name)
		return err
	})
	return target, err
}

// link implements paths.
func (r *root) link(p string) (string, error) {
	st, err := r.lstat(p)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", err
	}
	return r.readlink(p)
}

// in opens the directory that p lies in.
func (r *root) in(p string, do func(dir int, name string) error) error {
	parent, name := "", p
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		parent, name = p[:i], p[i+1:]
	}
	fd, err := r.open(parent, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd, name)
}

// names lists the directory p in no order.
func (r *root) names(p string) ([]string, error) {
	fd, err := r.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	return f.Readdirnames(-1)
}

// readlinkat is readlinkat(2) with a buffer that fits.
func readlinkat(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// missing tells whether err says that there is nothing at a path, or that the
// way to it leads through something that is no directory.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// replaced turns the errors of a path that has become another kind of file
// since it was listed into words.
func replaced(err error) error {
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("became another kind of file since it was listed: %w", err)
	}
	return err
}
