package sandbox

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openIn opens name, as a place only (O_PATH), inside the directory root, which
// no symlink and no ".." leads out of. With unix.RESOLVE_NO_SYMLINKS in how, a
// symlink anywhere on the way is an error.
func openIn(root int, name string, how uint64) (int, error) {
	rel := strings.TrimLeft(name, "/")
	if rel == "" {
		rel = "."
	}
	h := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | how}
	for range 64 {
		fd, err := unix.Openat2(root, rel, &h)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM): // before 5.6, or an old seccomp profile
			return walkIn(root, rel)
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR): // something was renamed meanwhile
			return -1, fmt.Errorf("open %s: %w", name, err)
		}
	}
	return -1, fmt.Errorf("open %s: %w", name, unix.EAGAIN)
}

// walkIn is openIn for kernels without openat2: it follows no symlink at all.
func walkIn(root int, rel string) (int, error) {
	fd, err := unix.Openat(root, ".", unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	for part := range strings.SplitSeq(path.Clean(rel), "/") {
		next, err := stepInto(fd, part)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("open %s: %w", rel, err)
		}
		fd = next
	}
	return fd, nil
}

func stepInto(dir int, part string) (int, error) {
	if part == ".." {
		return -1, unix.EXDEV
	}
	fd, err := unix.Openat(dir, part, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		unix.Close(fd)
		return -1, unix.ELOOP
	}
	return fd, nil
}

// openPath opens a place that the builder trusts.
func openPath(name string, flags int) (int, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

// fdPath names the place of a descriptor for system calls that want a path.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// isDir tells whether a descriptor is a directory.
func isDir(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
