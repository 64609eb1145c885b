package fakeroot

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	xattrACL        = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
)

// isACL tells whether an attribute is an access control list. The kernel reads its ids as those of who sets it, and in a
// user namespace most are nobody's there (posix_acl_from_xattr in fs/posix_acl.c). So lists are recorded, and stand on
// the disk as well where it takes them: there the kernel has files inherit a default list, which one that is
// only recorded does not do.
func isACL(name string) bool { return name == xattrACL || name == xattrDefaultACL }

// setACL is setxattr for a list. The mode follows an access list: acl(5), "correspondence between ACL entries and file
// permission bits".
func (c *call) setACL(name string, value []byte) answer {
	list := acl(value)
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if !c.t.cred.owns(&f) {
		return fail(unix.EPERM)
	}
	if !list.valid() {
		return pass // the kernel says what is wrong with it
	}
	if name == xattrDefaultACL && !f.isDir() {
		return fail(unix.EACCES)
	}
	if err := unix.Setxattr(procSelfFD(fd), name, value, int(c.arg[6])); err != nil && err != unix.EINVAL {
		return done(err)
	}
	if name == xattrACL && list.minimal() {
		f.dropXattr(name)
	} else {
		f.withXattr(name, string(value))
	}
	if name == xattrACL {
		return c.setMode(fd, &f, f.mode&0o7000|list.mode())
	}
	return c.changed(fd, &f)
}

// getACL is getxattr for a list.
func (c *call) getACL(name string) answer {
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if value, have := f.attr.Xattrs[name]; have {
		return c.give(4, value)
	}
	return pass
}

// removeACL is removexattr for a list.
func (c *call) removeACL(name string) answer {
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if !c.t.cred.owns(&f) {
		return fail(unix.EPERM)
	}
	if _, have := f.attr.Xattrs[name]; !have {
		return pass
	}
	if err := unix.Removexattr(procSelfFD(fd), name); err != nil && err != unix.ENODATA {
		return done(err)
	}
	f.dropXattr(name)
	return c.changed(fd, &f)
}

// followMode has the access list of a file say what its new mode does.
func (f *file) followMode() {
	if list := acl(f.attr.Xattrs[xattrACL]); len(list) > 0 {
		f.withXattr(xattrACL, string(list.withMode(f.mode)))
	}
}

// acl is a list as attributes have it: a version, and entries of a tag, permissions and an id
// (include/uapi/linux/posix_acl_xattr.h).
type acl []byte

const (
	aclVersion = 2
	aclHeader  = 4
	aclEntry   = 8

	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// each calls do with the tag and the permissions of every entry.
func (a acl) each(do func(tag uint16, perm []byte)) {
	for i := aclHeader; i+aclEntry <= len(a); i += aclEntry {
		do(binary.LittleEndian.Uint16(a[i:]), a[i+2:i+4])
	}
}

// valid tells whether it is a list of the kind that the kernel takes (posix_acl_valid).
func (a acl) valid() bool {
	if len(a) <= aclHeader || (len(a)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(a) != aclVersion {
		return false
	}
	var tags []uint16
	good := true
	a.each(func(tag uint16, perm []byte) {
		tags = append(tags, tag)
		good = good && binary.LittleEndian.Uint16(perm)&^7 == 0
	})
	count := func(tag uint16) (n int) {
		for _, t := range tags {
			if t == tag {
				n++
			}
		}
		return n
	}
	named := count(aclUser) + count(aclGroup)
	must := count(aclUserObj) == 1 && count(aclGroupObj) == 1 && count(aclOther) == 1 && count(aclMask) <= 1
	return good && must && slices.IsSorted(tags) && len(tags) == 3+named+count(aclMask) && (named == 0 || count(aclMask) == 1)
}

// minimal tells whether the list says no more than a mode does: the kernel keeps no such access list (posix_acl_equiv_mode).
func (a acl) minimal() bool { return len(a) == aclHeader+3*aclEntry }

// classes are the entries of owner, group and others that the mode shows, by the place of their bits in it.
func (a acl) classes() map[uint][]byte {
	of := make(map[uint][]byte, 3)
	a.each(func(tag uint16, perm []byte) {
		switch tag {
		case aclUserObj:
			of[6] = perm
		case aclGroupObj:
			of[3] = perm
		case aclMask: // behind the group's
			of[3] = perm
		case aclOther:
			of[0] = perm
		}
	})
	return of
}

// mode is what the list makes of the permission bits.
func (a acl) mode() (mode uint32) {
	for place, perm := range a.classes() {
		mode |= uint32(binary.LittleEndian.Uint16(perm)&7) << place
	}
	return mode
}

// withMode is the list after chmod(2).
func (a acl) withMode(mode uint32) acl {
	next := slices.Clone(a)
	for place, perm := range next.classes() {
		binary.LittleEndian.PutUint16(perm, uint16(mode>>place&7))
	}
	return next
}
