package fakeroot

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Links are names in the root directory that lead, as symlinks, to the same names in another directory: for where the
// root itself cannot be written, and processes are to find what they expect of a root. They see that directory in the
// root's place, and no links: but for what the kernel says in /proc/PID/maps and mountinfo.
type Links struct {
	Dir   string // where they lead, as the processes see it; absolute and clean
	Names []string
}

// abisFor are the tables of calls that are handed over. 32-bit programs see the links as links.
func abisFor(l *Links) []*abi {
	all := abis()
	if l != nil && len(all) > 0 {
		all[0].showLinks()
	}
	return all
}

// links are Links at work.
type links struct {
	Links
	fd int // of Dir
}

// openLinks holds the directory open; nil stays nil.
func openLinks(l *Links) (*links, error) {
	if l == nil {
		return nil, nil
	}
	fd, err := unix.Open(l.Dir, openPath|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s, where the links of the root lead: %w", l.Dir, err)
	}
	return &links{Links: *l, fd: fd}, nil
}

func (l *links) close() {
	if l != nil {
		unix.Close(l.fd)
	}
}

// strip takes from a path what is before the root that processes see.
func (l *links) strip(path string) string {
	rest, ok := strings.CutPrefix(path, l.Dir)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return path
	case rest == "":
		return "/"
	}
	return rest
}

// linked tells whether a path names the root directory (by "") or one of the links in it, with nothing on the way.
func (c *call) linked(t target) (name string, good bool) {
	if c.s.links == nil || t.path == "" {
		return "", false
	}
	for part := range strings.SplitSeq(t.path, "/") {
		switch {
		case part == "" || part == ".":
		case part == ".." || name != "":
			return "", false
		default:
			name = part
		}
	}
	if name != "" && !slices.Contains(c.s.links.Names, name) {
		return "", false
	}
	if t.path[0] == '/' {
		root, err := c.s.roots.of(c.t)
		return name, err == nil && root.own
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, c.fdName(t.dir), 0, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	return name, err == nil && rootID{st.Mnt_id, st.Ino} == c.s.roots.own && c.alive()
}

// openLinked opens the directory that stands for the root, or what a link stands for, if it is not to be followed.
func (c *call) openLinked(t target) (fd int, good bool, err error) {
	name, good := c.linked(t)
	switch {
	case !good || name != "" && t.follow():
		return -1, false, nil
	case name == "":
		fd, err = unix.Open(procSelfFD(c.s.links.fd), openPath, 0)
	default:
		fd, err = unix.Openat(c.s.links.fd, name, openPath|unix.O_NOFOLLOW, 0)
	}
	return fd, true, err
}

// parentLinked is parent for a link.
func (c *call) parentLinked(t target) (p parent, good bool, err error) {
	name, good := c.linked(t)
	if !good || name == "" {
		return parent{}, false, nil
	}
	p = parent{name: name, linked: true}
	if p.dir, err = unix.Open(procSelfFD(c.s.links.fd), openPath, 0); err != nil {
		return p, true, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(p.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return p, true, nil
	}
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && t.follow() {
		p.close()
		return p, false, nil // the kernel goes the whole way
	}
	p.exists = err == nil
	return p, true, nil
}

// openedLinks is open(2), without O_CREAT, of the root or, by O_NOFOLLOW, of a link.
func (c *call) openedLinks(flags int) answer {
	var how uint64
	if flags&unix.O_NOFOLLOW != 0 {
		how = unix.AT_SYMLINK_NOFOLLOW
	}
	t, good := c.target(1, how)
	if !good {
		return pass
	}
	at, good, err := c.openLinked(t)
	if !good || err != nil {
		return pass
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return done(err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return pass // nothing that could block is opened here
	}
	if flags&unix.O_PATH != 0 {
		// The kernel hands over no descriptor of that kind (fget(9) in SECCOMP_IOCTL_NOTIF_ADDFD); one that is open for
		// reading can do all that it could.
		flags = flags&(unix.O_CLOEXEC|unix.O_DIRECTORY) | unix.O_RDONLY
	}
	fd, err := unix.Open(procSelfFD(at), flags&^unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return done(err)
	}
	defer unix.Close(fd)
	if errno := c.s.sendFD(c.n.id, fd, flags&unix.O_CLOEXEC != 0); errno != 0 {
		return fail(errno)
	}
	return answer{sent: true}
}

// unlink is unlink(2) and rmdir(2): dir, path, flags.
func (c *call) unlink() answer {
	t, good := c.target(1, unix.AT_SYMLINK_NOFOLLOW)
	if !good {
		return pass
	}
	name, good := c.linked(t)
	if !good || name == "" {
		return pass
	}
	return done(unix.Unlinkat(c.s.links.fd, name, c.int(2)))
}

// rename is rename(2): dir, path, dir, path, flags.
func (c *call) rename() answer {
	return c.twoPaths(func(from, to *parent) error {
		return unix.Renameat2(from.dir, from.name, to.dir, to.name, uint(c.arg[4]))
	})
}

// link is link(2): dir, path, dir, path, flags.
func (c *call) link() answer {
	if c.int(4)&(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return pass
	}
	return c.twoPaths(func(from, to *parent) error {
		return unix.Linkat(from.dir, from.name, to.dir, to.name, 0)
	})
}

// twoPaths carries a call out that has two, if one of them is a link.
func (c *call) twoPaths(carryOut func(from, to *parent) error) answer {
	a, good1 := c.target(1, unix.AT_SYMLINK_NOFOLLOW)
	b, good2 := c.target(3, unix.AT_SYMLINK_NOFOLLOW)
	if !good1 || !good2 {
		return pass
	}
	_, linked1 := c.linked(a)
	_, linked2 := c.linked(b)
	if !linked1 && !linked2 {
		return pass
	}
	from, err := c.parent(a)
	if err != nil {
		return pass
	}
	defer from.close()
	to, err := c.parent(b)
	if err != nil {
		return pass
	}
	defer to.close()
	return done(carryOut(&from, &to))
}

// utimes is utimensat(2): dir, path, times, flags.
func (c *call) utimes() answer {
	t, good := c.target(1, c.arg[3])
	if !good || t.follow() {
		return pass
	}
	name, good := c.linked(t)
	if !good || name == "" {
		return pass
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	if c.arg[2] != 0 && !c.readTimes(c.arg[2], times) {
		return pass
	}
	return done(unix.UtimesNanoAt(c.s.links.fd, name, times, unix.AT_SYMLINK_NOFOLLOW))
}

// readlink is readlink(2): dir, path, buffer, size.
func (c *call) readlink() answer {
	t, good := c.target(1, unix.AT_SYMLINK_NOFOLLOW)
	if !good {
		return pass
	}
	name, good := c.linked(t)
	if good && name != "" {
		to, err := readLinkAt(c.s.links.fd, name)
		if err != nil {
			return done(err)
		}
		return c.linkText(to)
	}
	// What the kernel says of a process' own files begins with where the links lead.
	if !strings.HasPrefix(t.path, "/proc/") && !strings.HasPrefix(t.path, "/dev/") {
		return pass
	}
	fd, err := c.open(t)
	if err != nil {
		return pass
	}
	defer unix.Close(fd)
	to, err := readLinkAt(fd, "")
	if err != nil || c.s.links.strip(to) == to {
		return pass
	}
	return c.linkText(c.s.links.strip(to))
}

func (c *call) linkText(to string) answer {
	if n := int(c.arg[3]); n >= 0 && n < len(to) {
		to = to[:n]
	}
	if !c.write(c.arg[2], []byte(to)) {
		return fail(unix.EFAULT)
	}
	return ok(int64(len(to)))
}

func readLinkAt(dir int, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// getcwd is getcwd(2): buffer, size. The answer counts the byte that ends the text.
func (c *call) getcwd() answer {
	to, err := readLinkAt(unix.AT_FDCWD, c.proc("cwd"))
	if err != nil || !filepath.IsAbs(to) || c.s.links.strip(to) == to || strings.HasSuffix(to, " (deleted)") {
		return pass
	}
	text := append([]byte(c.s.links.strip(to)), 0)
	if c.arg[1] < uint64(len(text)) {
		return fail(unix.ERANGE)
	}
	if !c.write(c.arg[0], text) {
		return fail(unix.EFAULT)
	}
	return ok(int64(len(text)))
}

// showLinks adds to an ABI's calls what Links take: the whole of open(2), whose root must be another.
func (b *abi) showLinks() {
	for i := range b.calls {
		if w := &b.calls[i].when; w.mask == creates(0).mask {
			w.mask |= unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_PATH
		}
	}
	b.calls = append(b.calls, linkCalls()...)
}
