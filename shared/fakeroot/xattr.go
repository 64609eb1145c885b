package fakeroot

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	xattrCaps    = "security.capability"
	xattrNameMax = 255
	xattrSizeMax = 65536

	capsSize2    = 20 // XATTR_CAPS_SZ_2
	capsSize3    = 24 // XATTR_CAPS_SZ_3
	capsRevision = 0xff000000
	capsVersion2 = 0x02000000
	capsVersion3 = 0x03000000
)

// privileged tells whether only a capability lets a thread set the attribute. The others are the disk's.
func privileged(name string) bool {
	return strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.")
}

// needs is the capability to set or remove a privileged attribute: cap_inode_setxattr in the kernel.
func needs(name string) uint {
	if name == xattrCaps {
		return unix.CAP_SETFCAP
	}
	return unix.CAP_SYS_ADMIN
}

// withXattr sets an attribute. The map of a record is never changed.
func (f *file) withXattr(name, value string) {
	next := maps.Clone(f.attr.Xattrs)
	if next == nil {
		next = make(map[string]string)
	}
	next[name] = value
	f.attr.Xattrs = next
}

func (f *file) dropXattr(name string) {
	if _, ok := f.attr.Xattrs[name]; !ok {
		return
	}
	next := maps.Clone(f.attr.Xattrs)
	delete(next, name)
	f.attr.Xattrs = next
}

// xattrName reads the name in argument i. It is not good if the kernel shall answer: the attribute is neither privileged nor an access
// control list, or the name is bad.
func (c *call) xattrName(i int) (string, bool) {
	name, good := c.str(c.arg[i], xattrNameMax+1)
	return name, good && (privileged(name) || isACL(name))
}

// setxattr is setxattr(2): dir, path, flags, name, value, size, XATTR_CREATE or XATTR_REPLACE.
func (c *call) setxattr() answer {
	name, good := c.xattrName(3)
	size, how := c.arg[5], c.arg[6]
	if !good || how&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 || size > xattrSizeMax {
		return pass
	}
	if !isACL(name) && !c.t.cred.has(needs(name)) {
		return fail(unix.EPERM)
	}
	value := make([]byte, size)
	if c.read(c.arg[4], value) != len(value) {
		return fail(unix.EFAULT)
	}
	if isACL(name) {
		return c.setACL(name, value)
	}
	if name == xattrCaps {
		if value = normalCaps(value); value == nil {
			return fail(unix.EINVAL)
		}
	}
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	_, have := f.attr.Xattrs[name]
	if have && how&unix.XATTR_CREATE != 0 {
		return fail(unix.EEXIST)
	}
	if !have && how&unix.XATTR_REPLACE != 0 {
		return fail(unix.ENODATA)
	}
	f.withXattr(name, string(value))
	return c.changed(fd, &f)
}

// changed records a file whose attributes are others now.
func (c *call) changed(fd int, f *file) answer {
	if err := touch(fd); err != nil && err != unix.EPERM {
		return done(err)
	}
	if !f.isDir() {
		f.disk.Mode &^= unix.S_ISUID | unix.S_ISGID // as touch does
	}
	c.s.keep(f)
	return ok(0)
}

// normalCaps checks file capabilities as the kernel does (cap_convert_nscap) and gives those of root the form without the
// id of a root, by which they mean the same on every machine. Nil is for what is none.
func normalCaps(b []byte) []byte {
	if len(b) < 4 {
		return nil
	}
	magic := binary.LittleEndian.Uint32(b)
	switch {
	case magic&capsRevision == capsVersion2 && len(b) == capsSize2:
		return b
	case magic&capsRevision == capsVersion3 && len(b) == capsSize3:
		if binary.LittleEndian.Uint32(b[capsSize2:]) != 0 {
			return b
		}
		b = slices.Clone(b[:capsSize2])
		binary.LittleEndian.PutUint32(b, magic&^capsRevision|capsVersion2)
		return b
	}
	return nil
}

// setxattrat is setxattrat(2): dir, path, flags, name, struct xattr_args, its size.
func (c *call) setxattrat() answer {
	value, size, how, good := c.xattrArgs(4, 5)
	if !good {
		return pass
	}
	c.arg[4], c.arg[5], c.arg[6] = value, size, how
	return c.setxattr()
}

// getxattrat is getxattrat(2), with the arguments of setxattrat.
func (c *call) getxattrat() answer {
	value, size, how, good := c.xattrArgs(4, 5)
	if !good || how != 0 {
		return pass
	}
	c.arg[4], c.arg[5] = value, size
	return c.getxattr()
}

// xattrArgs reads struct xattr_args.
func (c *call) xattrArgs(i, size int) (value, length, how uint64, good bool) {
	var b [16]byte
	if c.arg[size] != uint64(len(b)) || c.read(c.arg[i], b[:]) != len(b) {
		return 0, 0, 0, false
	}
	return binary.NativeEndian.Uint64(b[:]), uint64(binary.NativeEndian.Uint32(b[8:])), uint64(binary.NativeEndian.Uint32(b[12:])), true
}

// getxattr is getxattr(2): dir, path, flags, name, buffer, size.
func (c *call) getxattr() answer {
	name, good := c.xattrName(3)
	if !good {
		return pass
	}
	if isACL(name) {
		return c.getACL(name)
	}
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	unix.Close(fd)
	value, have := f.attr.Xattrs[name]
	if !have || strings.HasPrefix(name, "trusted.") && !c.t.cred.has(unix.CAP_SYS_ADMIN) {
		return pass
	}
	return c.give(4, value)
}

// give answers with bytes for the buffer that argument i names; the argument after it is its size.
func (c *call) give(i int, value string) answer {
	switch size := c.arg[i+1]; {
	case size == 0:
		return ok(int64(len(value)))
	case size < uint64(len(value)):
		return fail(unix.ERANGE)
	case !c.write(c.arg[i], []byte(value)):
		return fail(unix.EFAULT)
	}
	return ok(int64(len(value)))
}

// listxattr is listxattr(2): dir, path, flags, buffer, size.
func (c *call) listxattr() answer {
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if len(f.attr.Xattrs) == 0 {
		return pass
	}
	list := ""
	buf := make([]byte, xattrSizeMax) // XATTR_LIST_MAX
	if n, err := unix.Listxattr(procSelfFD(fd), buf); err == nil {
		list = string(buf[:n])
	}
	for _, name := range slices.Sorted(maps.Keys(f.attr.Xattrs)) {
		hidden := strings.HasPrefix(name, "trusted.") && !c.t.cred.has(unix.CAP_SYS_ADMIN)
		if !hidden && !strings.Contains("\x00"+list, "\x00"+name+"\x00") {
			list += name + "\x00"
		}
	}
	if len(list) > xattrSizeMax {
		return fail(unix.E2BIG)
	}
	return c.give(3, list)
}

// removexattr is removexattr(2): dir, path, flags, name.
func (c *call) removexattr() answer {
	name, good := c.xattrName(3)
	if !good {
		return pass
	}
	if isACL(name) {
		return c.removeACL(name)
	}
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if !c.t.cred.has(needs(name)) {
		return fail(unix.EPERM)
	}
	if _, have := f.attr.Xattrs[name]; !have {
		return fail(unix.ENODATA)
	}
	f.dropXattr(name)
	return c.changed(fd, &f)
}
