package fakeroot

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// file is a file as processes see it.
type file struct {
	id       ID
	disk     unix.Statx_t
	attr     Attr // what is recorded, if anything
	recorded bool

	uid, gid uint32
	mode     uint32 // type and permission bits
	rdev     uint64
}

// shownUser is the owner that a file shows which nothing is recorded of.
func (v *service) shownUser(uid uint32) uint32 {
	if uid == v.uid {
		return 0
	}
	return uid
}

func (v *service) shownGroup(gid uint32) uint32 {
	if gid == v.gid {
		return 0
	}
	return gid
}

// lookAt reads a file that is held open.
func (v *service) lookAt(fd int) (file, error) {
	var f file
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &f.disk); err != nil {
		return f, err
	}
	v.show(&f)
	return f, nil
}

// show works out from the disk and the record what processes see.
func (v *service) show(f *file) {
	st := &f.disk
	f.id = IDOf(st)
	f.uid, f.gid, f.mode = v.shownUser(st.Uid), v.shownGroup(st.Gid), uint32(st.Mode)
	f.rdev = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
	if f.attr, f.recorded = v.rec.Get(f.id); !f.recorded {
		return
	}
	f.uid, f.gid = f.attr.UID, f.attr.GID
	if f.attr.HasMode {
		f.mode = f.mode&unix.S_IFMT | f.attr.Mode
	}
	if f.attr.Type != 0 {
		f.mode = f.mode&^unix.S_IFMT | f.attr.Type
		f.rdev = f.attr.Rdev
	}
}

// keep records the file as it shall be seen from now on.
func (v *service) keep(f *file) {
	a := Attr{UID: f.uid, GID: f.gid, Xattrs: f.attr.Xattrs}
	if f.mode&unix.S_IFMT != uint32(f.disk.Mode)&unix.S_IFMT {
		a.Type, a.Rdev = f.mode&unix.S_IFMT, f.rdev
	}
	if NeedsMode(f.mode) || (f.mode^uint32(f.disk.Mode))&0o7777 != 0 {
		a.Mode, a.HasMode = f.mode&0o7777, true
	}
	if a.plain() && (v.shownUser(f.disk.Uid) != 0 || v.shownGroup(f.disk.Gid) != 0) {
		a.Mode, a.HasMode = f.mode&0o7777, true // root's, though the disk says another's
	}
	v.rec.Put(f.id, a)
}

// isDir tells whether it is a directory.
func (f *file) isDir() bool { return f.mode&unix.S_IFMT == unix.S_IFDIR }

// touch moves the time of change, as the kernel does when it changes an owner; the looks at what a step has changed rely
// on it. It fails for a file system that is mounted read-only.
func touch(fd int) error {
	return unix.Fchownat(fd, "", -1, -1, unix.AT_EMPTY_PATH)
}

// chmodFD changes the mode on the disk of a file that is held open. There is no fchmodat with AT_EMPTY_PATH before Linux 6.6.
func chmodFD(fd int, mode uint32) error {
	return unix.Chmod(procSelfFD(fd), mode&0o7777)
}

// procSelfFD is a path to a file of ours that is held open.
func procSelfFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// owns tells whether the thread may do what an owner may.
func (c *cred) owns(f *file) bool { return c.user.fs == f.uid || c.has(unix.CAP_FOWNER) }

// may tells whether the thread is permitted to read (4), write (2) or execute (1) by the file's mode, with the user and
// group ids that are given. Access control lists are not looked at.
func (c *cred) may(f *file, want uint32, user, group uint32) bool {
	if c.has(unix.CAP_DAC_OVERRIDE) {
		return want&1 == 0 || f.isDir() || f.mode&0o111 != 0
	}
	bits := f.mode
	switch {
	case f.uid == user:
		bits >>= 6
	case f.gid == group || slices.Contains(c.groups, f.gid):
		bits >>= 3
	}
	return bits&want == want
}
