package fakeroot

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// bytesOf is the memory of a value.
func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// integer is any type that a field of struct stat has on some architecture.
type integer interface {
	~int32 | ~int64 | ~uint32 | ~uint64 | ~uint16 | ~int16
}

func assign[T, V integer](to *T, v V) { *to = T(v) }

// status is stat(2) and all that is like it: dir, path, buffer, flags.
func (c *call) status() answer {
	const known = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if c.arg[3]&^known != 0 {
		return pass
	}
	f, err := c.visible(1, c.arg[3], 0, statMask)
	if err != nil {
		return pass
	}
	layout := c.stat
	if layout == nil {
		layout = nativeStat
	}
	b := layout(&f.disk)
	if b == nil {
		return fail(unix.EOVERFLOW)
	}
	if !c.write(c.arg[2], b) {
		return fail(unix.EFAULT)
	}
	return ok(0)
}

const statxSync = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC // AT_STATX_SYNC_TYPE

// statx is statx(2): dir, path, flags, mask, buffer.
func (c *call) statx() answer {
	const known = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | statxSync
	const reserved = 1 << 31 // STATX__RESERVED
	flags, mask := c.arg[2], uint32(c.arg[3])
	if flags&^known != 0 || mask&reserved != 0 {
		return pass
	}
	f, err := c.visible(1, flags, int(flags&statxSync), mask|statMask)
	if err != nil {
		return pass
	}
	if !c.write(c.arg[4], bytesOf(&f.disk)) {
		return fail(unix.EFAULT)
	}
	return ok(0)
}

// visible looks at the file whose path is argument i and puts what processes see of it into its disk field. An error means
// that the kernel's answer is as good, or an error too.
func (c *call) visible(i int, flags uint64, sync int, mask uint32) (file, error) {
	var f file
	t, good := c.target(i, flags)
	if !good {
		return f, unix.EFAULT
	}
	var err error
	if t.path == "" && t.dir != unix.AT_FDCWD && flags&unix.AT_EMPTY_PATH != 0 {
		// The commonest: an open file. It is held by the process' descriptor.
		err = unix.Statx(unix.AT_FDCWD, c.fdName(t.dir), sync, int(mask), &f.disk)
	} else {
		var fd int
		if fd, err = c.open(t); err != nil {
			return f, err
		}
		err = unix.Statx(fd, "", unix.AT_EMPTY_PATH|sync, int(mask), &f.disk)
		defer unix.Close(fd)
		if err == nil && c.s.isProc(fd, unix.Mkdev(f.disk.Dev_major, f.disk.Dev_minor)) {
			c.s.showProc(fd, &f.disk)
			return f, nil
		}
	}
	if err != nil {
		return f, err
	}
	c.s.show(&f)
	st := &f.disk
	if !f.recorded && st.Uid == f.uid && st.Gid == f.gid {
		return f, errKernel
	}
	st.Uid, st.Gid, st.Mode = f.uid, f.gid, uint16(f.mode)
	st.Rdev_major, st.Rdev_minor = unix.Major(f.rdev), unix.Minor(f.rdev)
	return f, nil
}
