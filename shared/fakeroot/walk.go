package fakeroot

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// walk resolves a path name by name, as the thread would: the slow way, for what the kernel would not resolve for us
// as it does for the thread. That is /proc, where self is who asks, and where symlinks lead out of the tree of names;
// and relative paths of a thread that has a root of its own.
func (c *call) walk(root *rootView, base int, t target) (*walker, error) {
	w := &walker{c: c, root: root, file: -1, dir: -1}
	if err := w.start(base, t.path); err != nil {
		return nil, err
	}
	if err := w.run(t.follow()); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// walker is a path being resolved.
type walker struct {
	c     *call
	root  *rootView
	file  int // where we are; -1 if the last name is not there
	dir   int // the directory of the last name, -1 if it has none ("/", "..")
	name  string
	rest  []string // names to go, the next one last
	links int
}

const maxLinks = 40

func (w *walker) close() {
	w.set(-1)
	w.setDir(-1, "")
}

func (w *walker) set(fd int) {
	if w.file >= 0 {
		unix.Close(w.file)
	}
	w.file = fd
}

func (w *walker) setDir(fd int, name string) {
	if w.dir >= 0 {
		unix.Close(w.dir)
	}
	w.dir, w.name = fd, name
}

// take hands the file over.
func (w *walker) take() (int, error) {
	fd := w.file
	w.file = -1
	w.close()
	if fd < 0 {
		return -1, unix.ENOENT
	}
	return fd, nil
}

// takeParent hands the directory of the last name over.
func (w *walker) takeParent() (parent, error) {
	p := parent{dir: w.dir, name: w.name, exists: w.file >= 0}
	w.dir = -1
	w.close()
	if p.dir < 0 {
		return p, errKernel
	}
	return p, nil
}

func (w *walker) start(base int, path string) error {
	if path[0] == '/' {
		return w.toRoot(path)
	}
	fd, err := dup(base)
	if err != nil {
		return err
	}
	w.set(fd)
	w.push(path)
	return nil
}

func (w *walker) toRoot(path string) error {
	var (
		fd  int
		err error
	)
	if w.root.own {
		fd, err = unix.Open("/", openPath, 0)
	} else {
		fd, err = dup(w.root.fd)
	}
	if err != nil {
		return err
	}
	w.set(fd)
	w.push(path)
	return nil
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }

// push puts the names of path in front of those to go. A slash at the end stands for the directory itself.
func (w *walker) push(path string) {
	if strings.HasSuffix(path, "/") {
		path += "."
	}
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != "" {
			w.rest = append(w.rest, parts[i])
		}
	}
}

func (w *walker) run(follow bool) error {
	for len(w.rest) > 0 {
		name := w.rest[len(w.rest)-1]
		w.rest = w.rest[:len(w.rest)-1]
		if w.file < 0 {
			return unix.ENOENT // a name below one that is not there
		}
		var err error
		switch name {
		case ".":
			err = w.step(".", -1, "")
		case "..":
			err = w.up()
		default:
			err = w.down(name, follow || len(w.rest) > 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step goes to a name and remembers dir as its directory.
func (w *walker) step(name string, dir int, last string) error {
	fd, err := unix.Openat(w.file, name, openPath|unix.O_NOFOLLOW, 0)
	if err != nil {
		if dir >= 0 {
			unix.Close(dir)
		}
		return err
	}
	w.set(fd)
	w.setDir(dir, last)
	return nil
}

func (w *walker) up() error {
	here, err := rootIDOf(w.file)
	if err != nil {
		return err
	}
	top := w.c.s.roots.own
	if !w.root.own {
		if top, err = rootIDOf(w.root.fd); err != nil {
			return err
		}
	}
	if here == top {
		return w.step(".", -1, "")
	}
	return w.step("..", -1, "")
}

// down goes to a name in the directory where we are.
func (w *walker) down(name string, follow bool) error {
	if follow && w.atProcRoot() {
		if own, ok := w.self(name); ok {
			w.push(own)
			return nil
		}
	}
	dir, err := dup(w.file)
	if err != nil {
		return err
	}
	err = w.step(name, dir, name)
	if err == unix.ENOENT && len(w.rest) == 0 { // it may be about to be made
		if dir, err = dup(w.file); err != nil {
			return err
		}
		w.set(-1)
		w.setDir(dir, name)
		return nil
	}
	if err != nil || !follow {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(w.file, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return err
	}
	return w.link()
}

// link follows the symlink where we are.
func (w *walker) link() error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	if w.c.s.inProc(w.file) && !isProcRoot(w.dir) {
		return w.magic()
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.file, "", buf)
	if err != nil {
		return err
	}
	if n == 0 {
		return unix.ENOENT
	}
	to := string(buf[:n])
	if to[0] == '/' {
		return w.toRoot(to)
	}
	fd := w.dir
	w.dir = -1
	w.set(fd)
	w.push(to)
	return nil
}

// magic follows a symlink of /proc/PID, which leads where no name does. Of the builder's own ones we see more than
// the process may: those are the kernel's to refuse.
func (w *walker) magic() error {
	if w.ofBuilder() {
		return errKernel
	}
	fd, err := unix.Openat(w.dir, w.name, openPath, 0)
	if err != nil {
		return err
	}
	w.set(fd)
	w.setDir(-1, "")
	return nil
}

// ofBuilder tells whether the directory of the link belongs to the builder: names in another proc file system can be
// others, so its own opinion of who we are is asked.
func (w *walker) ofBuilder() bool {
	link, err := readlink(procSelfFD(w.dir))
	if err != nil {
		return true
	}
	// Its path ends in .../PID[/fd|/ns|/map_files|/task/TID[/fd]], below wherever proc is mounted.
	parts := strings.Split(link, "/")
	for i, p := range slices.Backward(parts) {
		if _, err := strconv.Atoi(p); err != nil {
			continue
		}
		up := strings.Repeat("../", len(parts)-i)
		self := make([]byte, 32)
		n, err := unix.Readlinkat(w.dir, up+"self", self)
		if err != nil {
			continue // not the directory of a process
		}
		return n == 0 || string(self[:n]) == p || p == strconv.Itoa(w.c.s.pid)
	}
	return true
}

func readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(name, buf)
	return string(buf[:max(n, 0)]), err
}

const procRootIno = 1 // PROC_ROOT_INO

func isProcRoot(fd int) bool {
	var st unix.Stat_t
	return fd >= 0 && unix.Fstat(fd, &st) == nil && st.Ino == procRootIno
}

func (w *walker) atProcRoot() bool { return isProcRoot(w.file) && w.c.s.inProc(w.file) }

// self is what self and thread-self mean to the thread in the proc file system where we are.
func (w *walker) self(name string) (string, bool) {
	if name != "self" && name != "thread-self" {
		return "", false
	}
	buf := make([]byte, 32)
	n, err := unix.Readlinkat(w.file, "self", buf)
	pid := w.c.t.inner // a proc file system of an inner pid namespace, which does not know us
	if err == nil && string(buf[:n]) == strconv.Itoa(w.c.s.pid) {
		pid = w.c.t.tgid
	}
	own := strconv.Itoa(pid)
	if name == "thread-self" && pid == w.c.t.tgid {
		own += "/task/" + strconv.Itoa(w.c.t.tid)
	}
	return own, true
}
