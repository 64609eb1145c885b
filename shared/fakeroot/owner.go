package fakeroot

import (
	"golang.org/x/sys/unix"
)

// opened opens the file that a call is about (the path is argument 1, its directory argument 0) and looks at it. The file
// must be closed.
func (c *call) opened(flags uint64) (int, file, bool) {
	t, good := c.target(1, flags)
	if !good {
		return -1, file{}, false
	}
	if flags&mustBeOpen != 0 && c.isPathOnly(t.dir) {
		return -1, file{}, false // EBADF
	}
	fd, err := c.open(t)
	if err != nil {
		return -1, file{}, false
	}
	f, err := c.s.lookAt(fd)
	if err != nil || !c.alive() {
		unix.Close(fd)
		return -1, file{}, false
	}
	return fd, f, true
}

// chown is chown(2) and all that is like it: dir, path, uid, gid, flags. The disk keeps its owner, the record gets the new one.
func (c *call) chown() answer {
	flags := c.arg[4]
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|mustBeOpen) != 0 {
		return pass
	}
	fd, f, good := c.opened(flags)
	if !good {
		return pass
	}
	defer unix.Close(fd)
	uid, gid := c.id(2), c.id(3)
	if !c.t.cred.mayChown(&f, uid, gid) {
		return fail(unix.EPERM)
	}
	if err := touch(fd); err != nil && err != unix.EPERM {
		return done(err)
	}
	if uid != none {
		f.uid = uid
	}
	if gid != none {
		f.gid = gid
	}
	if !f.isDir() {
		c.t.cred.clearPrivilege(&f)
		// touch took them from the disk.
		f.disk.Mode &^= uint16(f.disk.Mode) & (unix.S_ISUID | unix.S_ISGID)
	}
	c.s.keep(&f)
	return ok(0)
}

// mayChown is the rule of chown_ok and chgrp_ok in the kernel.
func (c *cred) mayChown(f *file, uid, gid uint32) bool {
	if c.has(unix.CAP_CHOWN) {
		return true
	}
	mine := c.user.fs == f.uid
	return (uid == none || mine && uid == f.uid) && (gid == none || mine && (gid == f.gid || c.inGroup(gid)))
}

// clearPrivilege takes from a file what a change of its owner or contents makes void: set-user-ID, set-group-ID of a program, file
// capabilities.
func (c *cred) clearPrivilege(f *file) {
	if f.mode&unix.S_IFMT != unix.S_IFLNK {
		f.mode &^= unix.S_ISUID
		if f.mode&unix.S_IXGRP != 0 || !c.inGroup(f.gid) && !c.has(unix.CAP_FSETID) {
			f.mode &^= unix.S_ISGID
		}
	}
	f.dropXattr(xattrCaps)
}

// chmod is chmod(2) and all that is like it: dir, path, mode, flags. The disk gets a mode under which the builder can still do
// what root could.
func (c *call) chmod() answer {
	flags := c.arg[3]
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|mustBeOpen) != 0 {
		return pass
	}
	fd, f, good := c.opened(flags)
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if f.mode&unix.S_IFMT == unix.S_IFLNK {
		return fail(unix.EOPNOTSUPP)
	}
	if !c.t.cred.owns(&f) {
		return fail(unix.EPERM)
	}
	perm := uint32(c.arg[2]) & 0o7777
	if !c.t.cred.inGroup(f.gid) && !c.t.cred.has(unix.CAP_FSETID) {
		perm &^= unix.S_ISGID
	}
	return c.setMode(fd, &f, perm)
}

// setMode gives a file another mode, on the disk as far as that is possible: a file of the container's runtime is not ours.
func (c *call) setMode(fd int, f *file, perm uint32) answer {
	f.mode = f.mode&unix.S_IFMT | perm
	f.followMode()
	onDisk := DiskMode(uint32(f.disk.Mode)&unix.S_IFMT | perm)
	err := chmodFD(fd, onDisk)
	if err != nil && err != unix.EPERM {
		return done(err)
	}
	if err == nil {
		f.disk.Mode = uint16(onDisk)
	}
	c.s.keep(f)
	return ok(0)
}
