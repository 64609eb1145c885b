package fakeroot

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// openPath is how we hold files: without opening them, so that no FIFO blocks and no device acts.
const openPath = unix.O_PATH | unix.O_CLOEXEC

// rootView is the root directory of a thread as far as it matters for paths.
type rootView struct {
	epoch int // of roots, when it was looked at; 0 means never
	own   bool
	fd    int // of roots.known, if it is not our own
}

// roots are the root directories of processes. Usually all have ours, and the kernel resolves their paths as it would for
// them.
type roots struct {
	epoch int // counts the calls that may have changed a root
	own   rootID
	known map[rootID]int // other roots, held open
}

type rootID struct{ mount, ino uint64 }

// maxRoots bounds how many other roots are held open at a time.
const maxRoots = 32

func (r *roots) init() (err error) {
	r.epoch, r.known = 1, make(map[rootID]int)
	fd, err := unix.Open("/", openPath, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r.own, err = rootIDOf(fd)
	return err
}

func (r *roots) close() {
	for id, fd := range r.known {
		unix.Close(fd)
		delete(r.known, id)
	}
}

func rootIDOf(fd int) (rootID, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	return rootID{st.Mnt_id, st.Ino}, err
}

// of finds the root of a thread.
func (r *roots) of(t *thread) (*rootView, error) {
	if t.root.epoch == r.epoch {
		return &t.root, nil
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(t.tid)+"/root", openPath, 0)
	if err != nil {
		return nil, err
	}
	id, err := rootIDOf(fd)
	if err != nil || id == r.own {
		unix.Close(fd)
		t.root = rootView{epoch: r.epoch, own: true, fd: -1}
		return &t.root, err
	}
	if have, ok := r.known[id]; ok {
		unix.Close(fd)
		fd = have
	} else {
		if len(r.known) >= maxRoots {
			r.close()
			r.epoch++
		}
		r.known[id] = fd
	}
	t.root = rootView{epoch: r.epoch, fd: fd}
	return &t.root, nil
}

// newRoot is any call that may change the root of its process, and of those that share it. The kernel decides whether it does.
func (c *call) newRoot() answer {
	c.s.roots.epoch++
	return pass
}

// errKernel says that a path is for the kernel to resolve, since the answer would be its own anyway.
var errKernel = errors.New("left to the kernel")

// proc is the name of something below the thread's directory in /proc.
func (c *call) proc(name string) string { return "/proc/" + strconv.Itoa(c.t.tid) + "/" + name }

// fdName is where the thread's descriptor leads.
func (c *call) fdName(fd int) string {
	if fd == unix.AT_FDCWD {
		return c.proc("cwd")
	}
	return c.proc("fd/" + strconv.Itoa(fd))
}

// isPathOnly tells whether a descriptor of the thread was opened with O_PATH.
func (c *call) isPathOnly(fd int) bool {
	b, err := c.s.readFile(c.proc("fdinfo/" + strconv.Itoa(fd)))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "flags:\t")
	line, _, _ := strings.Cut(rest, "\n")
	flags, _ := strconv.ParseUint(line, 8, 64)
	return flags&unix.O_PATH != 0
}

// target is a path of a call, as it was given.
type target struct {
	dir   int
	path  string
	flags uint64 // AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
}

// target reads the path in argument i, below the directory in the argument before it.
func (c *call) target(i int, flags uint64) (target, bool) {
	path, good := c.path(c.arg[i])
	return target{dir: c.int(i - 1), path: path, flags: flags}, good
}

func (t *target) follow() bool { return t.flags&unix.AT_SYMLINK_NOFOLLOW == 0 }

// open opens what a path names, for the thread that named it.
func (c *call) open(t target) (int, error) {
	if t.path == "" {
		if t.flags&unix.AT_EMPTY_PATH == 0 {
			return -1, unix.ENOENT
		}
		return unix.Open(c.fdName(t.dir), openPath, 0)
	}
	if fd, good, err := c.openLinked(t); good {
		return fd, err
	}
	root, err := c.s.roots.of(c.t)
	if err != nil {
		return -1, err
	}
	base := -1
	if t.path[0] != '/' {
		if base, err = unix.Open(c.fdName(t.dir), openPath, 0); err != nil {
			return -1, err
		}
		defer unix.Close(base)
	}
	if !c.alive() {
		return -1, unix.ESRCH
	}
	fd, err := c.fast(root, base, t)
	if err == nil && !c.s.inProc(fd) {
		return fd, nil
	}
	if err == nil {
		unix.Close(fd)
	} else if err != unix.ELOOP && err != unix.EXDEV && err != unix.EAGAIN && err != unix.ENOSYS {
		return -1, err
	}
	w, err := c.walk(root, base, t)
	if err != nil {
		return -1, err
	}
	return w.take()
}

// fast lets the kernel resolve a path. It fails with ELOOP or EXDEV where that would not mean the same for us.
func (c *call) fast(root *rootView, base int, t target) (int, error) {
	how := unix.OpenHow{Flags: openPath, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if !t.follow() {
		how.Flags |= unix.O_NOFOLLOW
	}
	switch {
	case root.own && base < 0:
		return unix.Openat2(unix.AT_FDCWD, t.path, &how)
	case root.own:
		return unix.Openat2(base, t.path, &how)
	case base < 0:
		how.Resolve |= unix.RESOLVE_IN_ROOT
		return unix.Openat2(root.fd, t.path, &how)
	case hasDotDot(t.path):
		return -1, unix.EXDEV
	}
	how.Resolve |= unix.RESOLVE_NO_SYMLINKS // an absolute one would lead to our root
	return unix.Openat2(base, t.path, &how)
}

func hasDotDot(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// inProc tells whether a file is in a proc file system, where names like self mean something else to us.
func (v *service) inProc(fd int) bool {
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &st) != nil {
		return false
	}
	return v.isProc(fd, unix.Mkdev(st.Dev_major, st.Dev_minor))
}

// isProc is inProc for a file whose device is known.
func (v *service) isProc(fd int, dev uint64) bool {
	is, ok := v.procfs[dev]
	if !ok {
		var fs unix.Statfs_t
		if unix.Fstatfs(fd, &fs) != nil {
			return false
		}
		is = fs.Type == unix.PROC_SUPER_MAGIC
		v.procfs[dev] = is
	}
	return is
}

// parent is the place of a name that may not be there yet.
type parent struct {
	dir    int
	name   string
	exists bool
	linked bool // the kernel would look in the real root
}

func (p *parent) close() { unix.Close(p.dir) }

// parent resolves all of a path but its last name. If the file is to be followed, the name is that of the last symlink's
// target.
func (c *call) parent(t target) (parent, error) {
	if p, good, err := c.parentLinked(t); good {
		return p, err
	}
	trimmed := strings.TrimRight(t.path, "/")
	dir, name := ".", trimmed
	if i := strings.LastIndexByte(trimmed, '/'); i >= 0 {
		dir, name = trimmed[:i+1], trimmed[i+1:]
	}
	if name == "" || name == "." || name == ".." {
		return parent{}, errKernel
	}
	fd, err := c.open(target{dir: t.dir, path: dir})
	if err != nil {
		return parent{}, err
	}
	p := parent{dir: fd, name: name}
	var st unix.Stat_t
	err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return p, nil
	}
	if err != nil {
		p.close()
		return p, err
	}
	p.exists = true
	if st.Mode&unix.S_IFMT != unix.S_IFLNK || !t.follow() {
		return p, nil
	}
	p.close()
	return c.parentOfLink(t)
}

// parentOfLink is parent for a path that ends in a symlink.
func (c *call) parentOfLink(t target) (parent, error) {
	root, err := c.s.roots.of(c.t)
	if err != nil {
		return parent{}, err
	}
	base := -1
	if t.path[0] != '/' {
		if base, err = unix.Open(c.fdName(t.dir), openPath, 0); err != nil {
			return parent{}, err
		}
		defer unix.Close(base)
	}
	w, err := c.walk(root, base, t)
	if err != nil {
		return parent{}, err
	}
	return w.takeParent()
}
