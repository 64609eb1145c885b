package fakeroot

import (
	"golang.org/x/sys/unix"
)

// access is access(2): dir, path, mode, flags. What root may is the kernel's answer, since the disk's modes let root pass.
func (c *call) access() answer {
	cred := c.t.cred
	user, group := cred.user.real, cred.group.real
	if c.arg[3]&unix.AT_EACCESS != 0 {
		user, group = cred.user.fs, cred.group.fs
	}
	want := uint32(c.arg[2])
	if user == 0 || want == 0 || want&^7 != 0 {
		return pass
	}
	fd, f, good := c.opened(c.arg[3])
	if !good {
		return pass
	}
	unix.Close(fd)
	without := *cred // the real user is not root: root's rights do not count (access(2))
	without.effective = 0
	if !without.may(&f, want, user, group) {
		return fail(unix.EACCES)
	}
	return pass
}
