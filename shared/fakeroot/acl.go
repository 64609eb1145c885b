package fakeroot

import (
	"golang.org/x/sys/unix"
)

const (
	xattrACL        = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
)

// isACL tells whether an attribute is an access control list. The disk holds it, and the kernel reads its ids as those
// of who sets it: in a user namespace most are nobody's there (posix_acl_from_xattr in fs/posix_acl.c). So it is set
// and read from outside, where they mean what they shall mean in the image.
func isACL(name string) bool { return name == xattrACL || name == xattrDefaultACL }

// setACL is setxattr for a list. The mode follows an access list: acl(5), "correspondence between ACL entries and file
// permission bits".
func (c *call) setACL(name string, value []byte) answer {
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if !c.t.cred.owns(&f) {
		return fail(unix.EPERM)
	}
	if err := unix.Setxattr(procSelfFD(fd), name, value, int(c.arg[6])); err != nil {
		return done(err)
	}
	now, err := c.s.lookAt(fd)
	if err != nil {
		return done(err)
	}
	if name == xattrDefaultACL {
		return ok(0)
	}
	return c.setMode(fd, &now, f.mode&0o7000|uint32(now.disk.Mode)&0o777)
}

// getACL is getxattr for a list.
func (c *call) getACL(name string) answer {
	fd, _, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	value := make([]byte, xattrSizeMax)
	n, err := unix.Getxattr(procSelfFD(fd), name, value)
	if err != nil {
		return done(err)
	}
	return c.give(4, string(value[:n]))
}
