package fakeroot

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// newborn is a file that is about to be made.
type newborn struct {
	parent
	in       file // its directory
	uid, gid uint32
	mode     uint32 // type and permission bits
}

// birth finds out where a call would make a file (the path is argument i), and as whose. Without an answer it is for
// the kernel to make it, or to say what is wrong.
func (c *call) birth(i int, mode uint32, follow bool) (newborn, bool) {
	var flags uint64
	if !follow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	t, good := c.target(i, flags)
	if !good || t.path == "" {
		return newborn{}, false
	}
	p, err := c.parent(t)
	if err != nil {
		return newborn{}, false
	}
	if p.exists {
		p.close()
		return newborn{}, false
	}
	in, err := c.s.lookAt(p.dir)
	if err != nil || !c.alive() {
		p.close()
		return newborn{}, false
	}
	n := newborn{parent: p, in: in, mode: mode}
	c.inherit(&n)
	return n, true
}

// inherit works out owner and group.
func (c *call) inherit(n *newborn) {
	n.uid, n.gid = c.t.cred.user.fs, c.t.cred.group.fs
	if n.in.mode&unix.S_ISGID != 0 {
		n.gid = n.in.gid
		if n.mode&unix.S_IFMT == unix.S_IFDIR {
			n.mode |= unix.S_ISGID
		}
	}
}

// umaskOf reads the thread's file mode mask.
func (v *service) umaskOf(t *thread) uint32 {
	b, err := v.readFile("/proc/" + strconv.Itoa(t.tid) + "/status")
	if err != nil {
		return 0o022
	}
	_, rest, _ := strings.Cut(string(b), "\nUmask:\t")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(line, 8, 32)
	if err != nil {
		return 0o022
	}
	return uint32(mask)
}

// umask is umask(2) with bits that take rights from owners: from now on root's files need a look, too.
func (c *call) umask() answer {
	c.s.oddUmask = true
	return pass
}

// ordinary tells whether the kernel makes the file just as it shall be seen. If not, the umask is taken off its mode.
func (c *call) ordinary(n *newborn) bool {
	gid := uint32(0)
	if n.in.disk.Mode&unix.S_ISGID != 0 {
		gid = c.s.shownGroup(n.in.disk.Gid)
	}
	same := n.uid == 0 && n.gid == gid && (n.in.mode^uint32(n.in.disk.Mode))&unix.S_ISGID == 0
	if isDevice(n.mode) {
		same = false
	}
	same = same && !n.linked
	if same && !c.s.oddUmask && !NeedsMode(n.mode) {
		return true // without asking for the umask
	}
	if n.mode&unix.S_IFMT != unix.S_IFLNK {
		n.mode &^= c.s.umaskOf(c.t)
	}
	return same && !NeedsMode(n.mode)
}

// allowed tells whether the thread may make a file there.
func (c *call) allowed(n *newborn) bool {
	return c.t.cred.may(&n.in, 3, c.t.cred.user.fs, c.t.cred.group.fs)
}

// record keeps what a file that was made shall look like. The mode on the disk is set here, whatever our own umask was.
func (c *call) record(n *newborn, fd int) error {
	f, err := c.s.lookAt(fd)
	if err != nil {
		return err
	}
	c.s.rec.Forget(f.id) // of a file that had the same id before, where the file system knows no birth
	f.attr = Attr{}
	f.uid, f.gid, f.mode = n.uid, n.gid, n.mode
	if kind := uint32(f.disk.Mode) & unix.S_IFMT; kind != unix.S_IFLNK {
		onDisk := DiskMode(kind | n.mode&0o7777)
		if err := chmodFD(fd, onDisk); err != nil {
			return err
		}
		f.disk.Mode = uint16(onDisk)
	}
	c.s.keep(&f)
	return nil
}

// settled records a file that was made by name.
func (c *call) settled(n *newborn, rdev uint64) answer {
	fd, err := unix.Openat(n.dir, n.name, openPath|unix.O_NOFOLLOW, 0)
	if err != nil {
		return done(err)
	}
	defer unix.Close(fd)
	if err := c.record(n, fd); err != nil {
		return done(err)
	}
	if rdev != 0 || isDevice(n.mode) {
		c.device(fd, n.mode, rdev)
	}
	return ok(0)
}

// create is open(2) with O_CREAT or O_TMPFILE: dir, path, flags, mode.
func (c *call) create() answer {
	flags, mode := c.int(2), uint32(c.arg[3])&0o7777|unix.S_IFREG
	if c.s.links != nil && flags&(unix.O_CREAT|tmpfileBit) == 0 {
		return c.openedLinks(flags)
	}
	if flags&tmpfileBit != 0 {
		return c.createUnnamed(flags, mode)
	}
	if flags&unix.O_PATH != 0 || flags&unix.O_CREAT == 0 || flags&unix.O_DIRECTORY != 0 {
		return pass
	}
	return c.make(1, mode, flags&(unix.O_NOFOLLOW|unix.O_EXCL) == 0, func(n *newborn) answer {
		return c.createFile(n, n.name, flags|unix.O_CREAT|unix.O_EXCL, flags)
	})
}

// createFile makes the file and gives the process its descriptor.
func (c *call) createFile(n *newborn, name string, how, flags int) answer {
	// O_TRUNC has nothing to cut; O_EXCL makes sure that it is new, and O_NONBLOCK that nothing here can block.
	fd, err := unix.Openat(n.dir, name, how&^unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, 0o600)
	if err == unix.EEXIST && flags&unix.O_EXCL == 0 {
		return pass // another one was faster
	}
	if err != nil {
		return done(err)
	}
	defer unix.Close(fd)
	if err := c.record(n, fd); err != nil {
		return done(err)
	}
	if errno := c.s.sendFD(c.n.id, fd, flags&unix.O_CLOEXEC != 0); errno != 0 {
		return fail(errno)
	}
	return answer{sent: true}
}

// createUnnamed is open(2) with O_TMPFILE: the path names the directory.
func (c *call) createUnnamed(flags int, mode uint32) answer {
	if flags&unix.O_TMPFILE != unix.O_TMPFILE {
		return pass
	}
	t, good := c.target(1, 0)
	if !good {
		return pass
	}
	dir, err := c.open(t)
	if err != nil {
		return pass
	}
	n := newborn{parent: parent{dir: dir}, mode: mode}
	defer n.close()
	if n.in, err = c.s.lookAt(dir); err != nil || !c.alive() {
		return pass
	}
	c.inherit(&n)
	if c.ordinary(&n) {
		return pass
	}
	if !c.allowed(&n) {
		return fail(unix.EACCES)
	}
	return c.createFile(&n, ".", flags, flags)
}

// create2 is openat2(2): dir, path, struct open_how, its size.
func (c *call) create2() answer {
	var b [24]byte // flags, mode, resolve; later fields are not ours to judge
	if c.arg[3] != uint64(len(b)) || c.read(c.arg[2], b[:]) != len(b) {
		return pass
	}
	flags, mode, resolve := binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:]), binary.NativeEndian.Uint64(b[16:])
	if c.s.links == nil && flags&(unix.O_CREAT|tmpfileBit) == 0 || resolve != 0 || flags>>31 != 0 {
		return pass // RESOLVE_*: the kernel makes it, and it is root's
	}
	c.arg[2], c.arg[3] = flags, mode
	return c.create()
}

// mkdir is mkdir(2): dir, path, mode.
func (c *call) mkdir() answer {
	return c.make(1, uint32(c.arg[2])&0o1777|unix.S_IFDIR, false, func(n *newborn) answer {
		if err := unix.Mkdirat(n.dir, n.name, 0o700); err != nil {
			return done(err)
		}
		return c.settled(n, 0)
	})
}

// symlink is symlink(2): target, dir, path.
func (c *call) symlink() answer {
	return c.make(2, 0o777|unix.S_IFLNK, false, func(n *newborn) answer {
		to, good := c.path(c.arg[0])
		if !good || to == "" {
			return pass
		}
		if err := unix.Symlinkat(to, n.dir, n.name); err != nil {
			return done(err)
		}
		return c.settled(n, 0)
	})
}

// mknod is mknod(2): dir, path, mode, device. A device is an empty regular file on the disk.
func (c *call) mknod() answer {
	mode, rdev := uint32(c.arg[2]), uint64(uint32(c.arg[3]))
	if mode&unix.S_IFMT == 0 {
		mode |= unix.S_IFREG
	}
	kind := mode & unix.S_IFMT
	if isDevice(kind) {
		if !c.t.cred.has(unix.CAP_MKNOD) {
			return fail(unix.EPERM)
		}
		kind = unix.S_IFREG
	} else {
		rdev = 0
	}
	return c.make(1, mode, false, func(n *newborn) answer {
		if err := unix.Mknodat(n.dir, n.name, kind|0o600, 0); err != nil {
			return done(err)
		}
		return c.settled(n, rdev)
	})
}

func isDevice(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFCHR || mode&unix.S_IFMT == unix.S_IFBLK
}

// device records that a placeholder is a device.
func (c *call) device(fd int, mode uint32, rdev uint64) {
	if f, err := c.s.lookAt(fd); err == nil {
		f.mode, f.rdev = mode, rdev
		c.s.keep(&f)
	}
}

// make carries out a call that makes a file by name (the path is an argument, its last symlink may be followed), unless the
// kernel does it just as well.
func (c *call) make(path int, mode uint32, follow bool, carryOut func(*newborn) answer) answer {
	n, good := c.birth(path, mode, follow)
	if !good {
		return pass
	}
	defer n.close()
	if c.ordinary(&n) {
		return pass
	}
	if !c.allowed(&n) {
		return fail(unix.EACCES)
	}
	return carryOut(&n)
}
