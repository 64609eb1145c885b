package fakeroot

import (
	"slices"

	"golang.org/x/sys/unix"
)

// ids are the user ids of a thread, or its group ids: see credentials(7).
type ids struct{ real, effective, saved, fs uint32 }

// cred is who a thread is. It is never changed, since threads share it: with makes another.
type cred struct {
	user, group ids
	groups      []uint32
	capabilities
}

func newCred(id Identity) *cred {
	all := func(n uint32) ids { return ids{n, n, n, n} }
	c := &cred{user: all(id.UID), group: all(id.GID), groups: slices.Clone(id.Groups)}
	c.bounding = defaultCaps()
	if id.UID == 0 {
		c.permitted, c.effective = c.bounding, c.bounding
	}
	return c
}

func (c *cred) with(change func(*cred)) *cred {
	next := *c
	change(&next)
	return &next
}

// inGroup tells whether the thread is a member of a group when it asks for files.
func (c *cred) inGroup(gid uint32) bool { return c.group.fs == gid || slices.Contains(c.groups, gid) }

func (c *call) getuid() answer  { return c.shown(c.t.cred.user.real) }
func (c *call) geteuid() answer { return c.shown(c.t.cred.user.effective) }
func (c *call) getgid() answer  { return c.shown(c.t.cred.group.real) }
func (c *call) getegid() answer { return c.shown(c.t.cred.group.effective) }

func (c *call) getresuid() answer { return c.getres(c.t.cred.user) }
func (c *call) getresgid() answer { return c.getres(c.t.cred.group) }

func (c *call) getres(v ids) answer {
	for i, id := range []uint32{v.real, v.effective, v.saved} {
		if !c.writeIDs(c.arg[i], id) {
			return fail(unix.EFAULT)
		}
	}
	return ok(0)
}

func (c *call) getgroups() answer {
	size, groups := c.int(0), c.t.cred.groups
	switch {
	case size < 0:
		return fail(unix.EINVAL)
	case size == 0:
		return ok(int64(len(groups)))
	case size < len(groups):
		return fail(unix.EINVAL)
	case !c.writeIDs(c.arg[1], groups...):
		return fail(unix.EFAULT)
	}
	return ok(int64(len(groups)))
}

const maxGroups = 65536 // NGROUPS_MAX

func (c *call) setgroups() answer {
	count := c.int(0)
	if !c.t.cred.has(unix.CAP_SETGID) {
		return fail(unix.EPERM)
	}
	if count < 0 || count > maxGroups {
		return fail(unix.EINVAL)
	}
	groups, read := c.readIDs(c.arg[1], count)
	if !read {
		return fail(unix.EFAULT)
	}
	slices.Sort(groups) // as the kernel keeps them
	c.become(c.t.cred.with(func(n *cred) { n.groups = groups }))
	return ok(0)
}

// change is a set*id call for users or for groups.
type change struct {
	ids        ids
	privileged bool
}

func (c *call) user() change { return change{c.t.cred.user, c.t.cred.has(unix.CAP_SETUID)} }
func (c *call) group() change {
	return change{c.t.cred.group, c.t.cred.has(unix.CAP_SETGID)}
}

// one is setuid(2) and setgid(2).
func (h change) one(id uint32) (ids, unix.Errno) {
	next := h.ids
	switch {
	case id == none:
		return next, unix.EINVAL
	case h.privileged:
		return ids{id, id, id, id}, 0
	case id == next.real || id == next.saved:
		next.effective, next.fs = id, id
		return next, 0
	}
	return next, unix.EPERM
}

// two is setreuid(2) and setregid(2).
func (h change) two(r, e uint32) (ids, unix.Errno) {
	next := h.ids
	may := func(id uint32, of ...uint32) bool { return id == none || h.privileged || slices.Contains(of, id) }
	if !may(r, next.real, next.effective) || !may(e, next.real, next.effective, next.saved) {
		return next, unix.EPERM
	}
	if r != none {
		next.real = r
	}
	if e != none {
		next.effective = e
	}
	if r != none || e != none && e != h.ids.real {
		next.saved = next.effective
	}
	next.fs = next.effective
	return next, 0
}

// three is setresuid(2) and setresgid(2).
func (h change) three(r, e, s uint32) (ids, unix.Errno) {
	next := h.ids
	for _, id := range []uint32{r, e, s} {
		if id != none && !h.privileged && id != next.real && id != next.effective && id != next.saved {
			return next, unix.EPERM
		}
	}
	if r != none {
		next.real = r
	}
	if e != none {
		next.effective = e
	}
	if s != none {
		next.saved = s
	}
	next.fs = next.effective
	return next, 0
}

// filesystem is setfsuid(2) and setfsgid(2), which fail silently.
func (h change) filesystem(id uint32) ids {
	next := h.ids
	if h.privileged || id == next.real || id == next.effective || id == next.saved || id == next.fs {
		if id != none {
			next.fs = id
		}
	}
	return next
}

func (c *call) setUser(next ids, errno unix.Errno) answer {
	if errno != 0 {
		return fail(errno)
	}
	c.become(c.t.cred.withUser(next))
	return ok(0)
}

func (c *call) setGroup(next ids, errno unix.Errno) answer {
	if errno != 0 {
		return fail(errno)
	}
	c.become(c.t.cred.with(func(n *cred) { n.group = next }))
	return ok(0)
}

func (c *call) setuid() answer    { return c.setUser(c.user().one(c.id(0))) }
func (c *call) setgid() answer    { return c.setGroup(c.group().one(c.id(0))) }
func (c *call) setreuid() answer  { return c.setUser(c.user().two(c.id(0), c.id(1))) }
func (c *call) setregid() answer  { return c.setGroup(c.group().two(c.id(0), c.id(1))) }
func (c *call) setresuid() answer { return c.setUser(c.user().three(c.id(0), c.id(1), c.id(2))) }
func (c *call) setresgid() answer { return c.setGroup(c.group().three(c.id(0), c.id(1), c.id(2))) }

func (c *call) setfsuid() answer {
	old := c.t.cred.user
	if next := c.user().filesystem(c.id(0)); next != old {
		c.become(c.t.cred.with(func(n *cred) { n.user = next }))
	}
	return c.shown(old.fs)
}

func (c *call) setfsgid() answer {
	old := c.t.cred.group
	if next := c.group().filesystem(c.id(0)); next != old {
		c.become(c.t.cred.with(func(n *cred) { n.group = next }))
	}
	return c.shown(old.fs)
}
