package fakeroot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// caps is a set of capabilities.
type caps uint64

func (c caps) has(n uint) bool { return n < 64 && c>>n&1 != 0 }

// defaultCaps are those that a container's root has, for which image builds are written.
func defaultCaps() caps {
	var c caps
	for _, n := range []uint{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID,
		unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
	} {
		c |= 1 << n
	}
	return c
}

// capabilities are what a thread believes that it may do: see capabilities(7).
type capabilities struct {
	permitted, effective, inheritable, bounding, ambient caps
	secure                                               uint32 // PR_SET_SECUREBITS
}

const (
	secNoRoot       = 1 << 0
	secNoSetuid     = 1 << 2 // SECBIT_NO_SETUID_FIXUP
	secKeepCaps     = 1 << 4
	secKeepCapsLock = 1 << 5
	secAmbientOff   = 1 << 6 // SECBIT_NO_CAP_AMBIENT_RAISE
)

// has tells whether the thread may do what needs a capability.
func (c *cred) has(n uint) bool { return c.effective.has(n) }

// withUser changes the user ids and with them the capabilities: capabilities(7), "effect of user ID changes".
func (c *cred) withUser(next ids) *cred {
	return c.with(func(n *cred) {
		n.user = next
		if n.secure&secNoSetuid != 0 {
			return
		}
		old := c.user
		was := old.real == 0 || old.effective == 0 || old.saved == 0
		is := next.real == 0 || next.effective == 0 || next.saved == 0
		if was && !is {
			if n.secure&secKeepCaps == 0 {
				n.permitted, n.effective = 0, 0
			}
			n.ambient = 0
		}
		if old.effective == 0 && next.effective != 0 {
			n.effective = 0
		}
		if old.effective != 0 && next.effective == 0 {
			n.effective = n.permitted
		}
	})
}

// capHeader reads the header of capget(2) and capset(2) and returns how many words of 32 capabilities follow. A
// version that is not known is answered as the kernel does, with the one that it prefers.
func (c *call) capHeader() (words, pid int, a answer, good bool) {
	var b [8]byte
	if c.read(c.arg[0], b[:]) != len(b) {
		return 0, 0, fail(unix.EFAULT), false
	}
	switch binary.NativeEndian.Uint32(b[:]) {
	case unix.LINUX_CAPABILITY_VERSION_1:
		words = 1
	case unix.LINUX_CAPABILITY_VERSION_2, unix.LINUX_CAPABILITY_VERSION_3:
		words = 2
	default:
		binary.NativeEndian.PutUint32(b[:], unix.LINUX_CAPABILITY_VERSION_3)
		if !c.write(c.arg[0], b[:4]) {
			return 0, 0, fail(unix.EFAULT), false
		}
		return 0, 0, fail(unix.EINVAL), false
	}
	return words, int(int32(binary.NativeEndian.Uint32(b[4:]))), answer{}, true
}

func (c *call) capget() answer {
	words, pid, a, good := c.capHeader()
	if !good {
		if a.errno == unix.EINVAL && c.arg[1] == 0 { // the way to ask for the version
			return ok(0)
		}
		return a
	}
	of := c.t.cred
	if pid != 0 && pid != c.t.inner && pid != c.t.tgid {
		t := c.s.threads[pid]
		if t == nil {
			return pass
		}
		of = t.cred
	}
	b := make([]byte, 0, 24)
	for i := range words {
		for _, set := range []caps{of.effective, of.permitted, of.inheritable} {
			b = binary.NativeEndian.AppendUint32(b, uint32(set>>(32*i)))
		}
	}
	if !c.write(c.arg[1], b) {
		return fail(unix.EFAULT)
	}
	return ok(0)
}

func (c *call) capset() answer {
	words, pid, a, good := c.capHeader()
	if !good {
		return a
	}
	if pid != 0 && pid != c.t.inner && pid != c.t.tgid && pid != c.t.tid {
		return fail(unix.EPERM)
	}
	b := make([]byte, 12*words)
	if c.read(c.arg[1], b) != len(b) {
		return fail(unix.EFAULT)
	}
	var sets [3]caps
	for i := range words {
		for j := range sets {
			sets[j] |= caps(binary.NativeEndian.Uint32(b[12*i+4*j:])) << (32 * i)
		}
	}
	effective, permitted, inheritable := sets[0], sets[1], sets[2]
	old := c.t.cred
	if !old.has(unix.CAP_SETPCAP) && inheritable&^(old.inheritable|old.permitted) != 0 ||
		inheritable&^(old.inheritable|old.bounding) != 0 || permitted&^old.permitted != 0 || effective&^permitted != 0 {
		return fail(unix.EPERM)
	}
	c.become(old.with(func(n *cred) {
		n.effective, n.permitted, n.inheritable = effective, permitted, inheritable
		n.ambient &= permitted & inheritable
	}))
	return ok(0)
}

// prctl answers the options of prctl(2) that are about capabilities.
func (c *call) prctl() answer {
	old, arg := c.t.cred, c.arg[1]
	switch c.int(0) {
	case unix.PR_SET_DUMPABLE:
		if arg == 0 {
			return ok(0) // or we could not read its memory any more
		}
		return pass
	case unix.PR_GET_KEEPCAPS:
		return ok(int64(old.secure & secKeepCaps >> 4))
	case unix.PR_SET_KEEPCAPS:
		if arg > 1 {
			return fail(unix.EINVAL)
		}
		if old.secure&secKeepCapsLock != 0 {
			return fail(unix.EPERM)
		}
		return c.secure(old.secure&^secKeepCaps | uint32(arg)<<4)
	case unix.PR_GET_SECUREBITS:
		return ok(int64(old.secure))
	case unix.PR_SET_SECUREBITS:
		locked := old.secure>>1&old.secure | old.secure
		if !old.has(unix.CAP_SETPCAP) || locked&0xaa&^uint32(arg) != 0 {
			return fail(unix.EPERM)
		}
		return c.secure(uint32(arg))
	case unix.PR_CAPBSET_READ:
		if arg > unix.CAP_LAST_CAP {
			return fail(unix.EINVAL)
		}
		return ok(int64(old.bounding >> arg & 1))
	case unix.PR_CAPBSET_DROP:
		return c.dropBounding(arg)
	case unix.PR_CAP_AMBIENT:
		return c.ambient(arg, c.arg[2])
	}
	return pass
}

func (c *call) secure(bits uint32) answer {
	c.become(c.t.cred.with(func(n *cred) { n.secure = bits }))
	return ok(0)
}

func (c *call) dropBounding(arg uint64) answer {
	if !c.t.cred.has(unix.CAP_SETPCAP) {
		return fail(unix.EPERM)
	}
	if arg > unix.CAP_LAST_CAP {
		return fail(unix.EINVAL)
	}
	c.become(c.t.cred.with(func(n *cred) { n.bounding &^= 1 << arg }))
	return ok(0)
}

func (c *call) ambient(what, arg uint64) answer {
	old := c.t.cred
	if c.arg[3]|c.arg[4] != 0 {
		return fail(unix.EINVAL)
	}
	if what == unix.PR_CAP_AMBIENT_CLEAR_ALL {
		c.become(old.with(func(n *cred) { n.capabilities.ambient = 0 }))
		return ok(0)
	}
	if arg > unix.CAP_LAST_CAP {
		return fail(unix.EINVAL)
	}
	one := caps(1) << arg
	switch what {
	case unix.PR_CAP_AMBIENT_IS_SET:
		return ok(int64(old.ambient >> arg & 1))
	case unix.PR_CAP_AMBIENT_LOWER:
		c.become(old.with(func(n *cred) { n.capabilities.ambient &^= one }))
		return ok(0)
	case unix.PR_CAP_AMBIENT_RAISE:
		if old.permitted&old.inheritable&one == 0 || old.secure&secAmbientOff != 0 {
			return fail(unix.EPERM)
		}
		c.become(old.with(func(n *cred) { n.capabilities.ambient |= one }))
		return ok(0)
	}
	return fail(unix.EINVAL)
}
