package fakeroot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// exec is execve(2): dir, path, flags. The kernel carries it out; a set-user-ID program, which it would not
// honour (no_new_privs) or which is another's by the record only, changes who the process is.
func (c *call) exec() answer {
	fd, f, good := c.opened(c.arg[2])
	if !good {
		return pass
	}
	defer unix.Close(fd)
	if f.mode&unix.S_IFMT != unix.S_IFREG {
		return pass
	}
	cred := c.t.cred
	if !cred.may(&f, 1, cred.user.fs, cred.group.fs) {
		return fail(unix.EACCES)
	}
	if f.mode&0o111 == 0 {
		return pass
	}
	next := cred.executing(&f, f.mode&(unix.S_ISUID|unix.S_ISGID) != 0 && !isScript(fd))
	if c.t.tid != c.t.tgid { // the thread becomes the leader of its group
		if leader, err := c.s.thread(c.t.tgid); err == nil && leader.cred != next {
			leader.cred = next
		}
	}
	if !cred.same(next) {
		c.become(next)
	}
	return pass
}

// isScript tells whether the kernel would run an interpreter, for which set-user-ID does not count.
func isScript(fd int) bool {
	// Only a regular file gets here, so reading cannot block.
	rd, err := unix.Open(procSelfFD(fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(rd)
	var b [2]byte
	n, _ := unix.Pread(rd, b[:], 0)
	return n == 2 && b == [2]byte{'#', '!'}
}

// executing is who a thread is after it has executed a file: capabilities(7), "transformation of capabilities
// during execve()".
func (c *cred) executing(f *file, honour bool) *cred {
	return c.with(func(n *cred) {
		if honour && f.mode&unix.S_ISUID != 0 {
			n.user.effective = f.uid
		}
		if honour && f.mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
			n.group.effective = f.gid
		}
		n.user.saved, n.user.fs = n.user.effective, n.user.effective
		n.group.saved, n.group.fs = n.group.effective, n.group.effective
		n.secure &^= secKeepCaps
		changed := n.user.effective != c.user.effective || n.group.effective != c.group.effective
		permitted, effective := fileCaps(f.attr.Xattrs[xattrCaps])
		if changed || permitted != 0 {
			n.ambient = 0
		}
		n.permitted = permitted&n.bounding | n.ambient
		n.effective = n.ambient
		if effective {
			n.effective = n.permitted
		}
		if n.secure&secNoRoot == 0 && (n.user.effective == 0 || n.user.real == 0) {
			n.permitted = n.inheritable | n.bounding
			if n.user.effective == 0 {
				n.effective = n.permitted
			} else {
				n.effective = 0
			}
		}
	})
}

// same tells whether two identities are equal; groups never change by an exec.
func (c *cred) same(o *cred) bool {
	return c.user == o.user && c.group == o.group && c.capabilities == o.capabilities
}

// fileCaps reads what a security.capability attribute permits, and whether that takes effect at once.
func fileCaps(value string) (permitted caps, effective bool) {
	b := []byte(value)
	if len(b) < capsSize2 {
		return 0, false
	}
	lo, hi := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[12:])
	return caps(lo) | caps(hi)<<32, b[0]&1 != 0
}

// chroot is chroot(2). A change to the root that the process has already is none; any other is the kernel's to do, or to refuse:
// another root for some processes cannot be emulated.
func (c *call) chroot() answer {
	path, good := c.path(c.arg[0])
	if !good || path == "" {
		return pass
	}
	defer c.newRoot()
	fd, err := c.open(target{dir: unix.AT_FDCWD, path: path})
	if err != nil {
		return pass
	}
	defer unix.Close(fd)
	if !c.t.cred.has(unix.CAP_SYS_CHROOT) {
		return fail(unix.EPERM)
	}
	want, err1 := rootIDOf(fd)
	root, err2 := unix.Open(c.proc("root"), openPath, 0)
	if err2 != nil {
		return pass
	}
	defer unix.Close(root)
	have, err3 := rootIDOf(root)
	if err1 == nil && err3 == nil && want == have {
		return ok(0)
	}
	return pass
}
