package source

import (
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xattrReader reads the extended attributes of directories and regular files
// that belong into an image: security.capability, and what users set. Labels,
// access lists and trusted attributes are the builder's machine's own business.
type xattrReader struct {
	// at says that there is listxattrat(2): Linux 6.13, and a seccomp filter
	// that knows it.
	at bool
	// base is the directory that paths go from, where there is not. A path may
	// lead elsewhere by now; it only serves to see that most files have none.
	base string
	// proc says that /proc/self/fd can be used.
	proc bool
}

func newXattrReader(base string) xattrReader {
	x := xattrReader{base: base, proc: unix.Access("/proc/self/fd", unix.X_OK) == nil}
	switch _, err := listxattrat(unix.AT_FDCWD, "/", nil); err {
	case unix.ENOSYS, unix.EPERM:
	default:
		x.at = true
	}
	return x
}

func keepXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.")
}

// listxattrat is listxattrat(2), which golang.org/x/sys has no function for.
func listxattrat(dir int, name string, buf []byte) (int, error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(p)),
		unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// read returns the attributes of name in the open directory dir; p is its path
// from the base.
func (x xattrReader) read(dir int, name, p string) (map[string]string, error) {
	var buf [256]byte
	var n int
	var err error
	if x.at {
		n, err = listxattrat(dir, name, buf[:])
	} else {
		n, err = unix.Llistxattr(x.base+"/"+p, buf[:])
	}
	if err == nil && n == 0 {
		return nil, nil
	}
	if err == nil && !slices.ContainsFunc(strings.Split(string(buf[:n]), "\x00"), keepXattr) {
		return nil, nil
	}
	if err != nil && ignorable(err) == nil {
		return nil, nil
	}
	return x.careful(dir, name)
}

// careful is read for a file that has some.
func (x xattrReader) careful(dir int, name string) (map[string]string, error) {
	if x.proc {
		p := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
		return x.collect(p, unix.Llistxattr, unix.Lgetxattr)
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, ignorable(err)
	}
	defer unix.Close(fd)
	return x.collect("", func(_ string, b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(_, attr string, b []byte) (int, error) { return unix.Fgetxattr(fd, attr, b) })
}

func (x xattrReader) collect(p string, list func(string, []byte) (int, error), get func(string, string, []byte) (int, error)) (map[string]string, error) {
	names, err := grow(func(b []byte) (int, error) { return list(p, b) })
	if err != nil {
		return nil, ignorable(err)
	}
	var out map[string]string
	for attr := range strings.SplitSeq(string(names), "\x00") {
		if !keepXattr(attr) {
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return get(p, attr, b) })
		if err != nil {
			if err = ignorable(err); err != nil {
				return nil, err
			}
			continue
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[attr] = string(value)
	}
	return out, nil
}

// grow calls with a buffer that is large enough.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	n, err := call(small[:])
	if err == nil {
		return append([]byte(nil), small[:n]...), nil
	}
	if err != unix.ERANGE {
		return nil, err
	}
	buf := make([]byte, 64<<10) // XATTR_SIZE_MAX and XATTR_LIST_MAX, xattr(7)
	if n, err = call(buf); err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// ignorable is nil for errors that say that there is no attribute, or that it
// is not for us to read.
func ignorable(err error) error {
	switch err {
	case unix.ENOTSUP, unix.EPERM, unix.EACCES, unix.ENOSYS, unix.ENODATA:
		return nil
	}
	return err
}
