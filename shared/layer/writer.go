package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	maxOpen    = 128       // directories held open
	copySize   = 256 << 10 // files up to this size are written by one call
	kernelCopy = 128 << 10 // files from this size on are copied by the kernel
)

type writerOptions struct {
	userXattr bool
	lenient   bool // what an ordinary user may not do is counted, and let pass
	onto      bool // the directory has things in it, which give way
	// record, where set, is told what the disk cannot say, and nothing else is
	// done about it.
	record func(st *unix.Statx_t, in *Inode)
}

// writer writes files into a directory, by handles of their parents, with the
// metadata they have in a table. One method per kind of file, one for metadata.
type writer struct {
	writerOptions
	dir    string
	root   *folder
	uid    uint32
	umask  uint32
	relax  bool // keep what we write accessible to us, who are not root
	lost   int64
	tick   uint64
	opened []*folder
	buf    []byte
}

// heir is what new files in a directory get from it without asking.
type heir struct {
	gid    uint32
	setgid bool
	acl    bool
}

func newWriter(dir string, o writerOptions) (*writer, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	w := &writer{
		writerOptions: o, dir: dir, root: &folder{fd: fd, pinned: true},
		uid: uint32(os.Geteuid()), umask: umask(),
		buf: make([]byte, copySize),
	}
	w.relax = o.lenient && w.uid != 0 || o.record != nil
	if err := w.look(w.root, fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return w, nil
}

// umask reads the process's file mode creation mask, without setting it on the
// way as umask(2) must. When in doubt all bits need a chmod.
func umask() uint32 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	_, b, _ = bytes.Cut(b, []byte("\nUmask:\t"))
	b, _, _ = bytes.Cut(b, []byte("\n"))
	m, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil {
		return 0o777
	}
	return uint32(m)
}

// look finds out what a directory hands down. Volumes of pods with an fsGroup
// have the setgid bit, for one.
func (w *writer) look(f *folder, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: w.dir + "/" + f.path, Err: err}
	}
	f.heir = heir{gid: uint32(os.Getegid()), setgid: st.Mode&unix.S_ISGID != 0}
	if f.heir.setgid {
		f.heir.gid = st.Gid
	}
	_, err := unix.Fgetxattr(fd, "system.posix_acl_default", nil)
	f.heir.acl = err == nil
	return nil
}

func (w *writer) close() {
	for _, f := range w.opened {
		unix.Close(f.fd)
		f.fd = -1
	}
	w.opened = nil
	unix.Close(w.root.fd)
	w.root.fd = -1
}

// open returns f's descriptor, which stays valid while fewer than maxOpen
// others are asked for, or for as long as f is pinned.
func (w *writer) open(f *folder) (int, error) {
	w.tick++
	f.used = w.tick
	if f.fd >= 0 {
		return f.fd, nil
	}
	parent, err := w.open(f.parent)
	if err != nil {
		return -1, err
	}
	fd, err := openat(parent, f.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: w.dir + "/" + f.path, Err: err}
	}
	if len(w.opened) >= maxOpen {
		w.evict()
	}
	f.fd = fd
	w.opened = append(w.opened, f)
	return fd, nil
}

func (w *writer) evict() {
	oldest := -1
	for i, f := range w.opened {
		if !f.pinned && (oldest < 0 || f.used < w.opened[oldest].used) {
			oldest = i
		}
	}
	w.release(w.opened[oldest])
}

// release closes a directory, if it is open.
func (w *writer) release(f *folder) {
	if f.fd < 0 || f == w.root {
		return
	}
	unix.Close(f.fd)
	f.fd = -1
	for i, g := range w.opened {
		if g == f {
			last := len(w.opened) - 1
			w.opened[i] = w.opened[last]
			w.opened = w.opened[:last]
			return
		}
	}
}

func (w *writer) fail(op string, f *folder, name string, err error) error {
	return &fs.PathError{Op: op, Path: w.dir + "/" + f.join(name), Err: err}
}

// place carries out a call that puts something at name in f, after making
// room there if need be.
func (w *writer) place(op string, f *folder, name string, call func(parent int) error) error {
	parent, err := w.open(f)
	if err != nil {
		return err
	}
	err = call(parent)
	if err == unix.EEXIST && w.onto {
		if err := w.remove(f, name); err != nil {
			return err
		}
		err = call(parent)
	}
	if err != nil {
		return w.fail(op, f, name, err)
	}
	return nil
}

// mkdir makes a directory that only we can enter until it is settled.
func (w *writer) mkdir(f *folder, name string) error {
	return w.place("mkdir", f, name, func(parent int) error { return unix.Mkdirat(parent, name, 0o700) })
}

// whiteout makes what overlayfs takes for "not there".
func (w *writer) whiteout(f *folder, name string) error {
	return w.permit(w.place("make whiteout", f, name, func(parent int) error {
		return unix.Mknodat(parent, name, unix.S_IFCHR, 0)
	}))
}

func (w *writer) link(target *folder, targetName string, f *folder, name string, in *Inode) error {
	target.pinned = true
	defer func() { target.pinned = target == w.root }()
	from, err := w.open(target)
	if err != nil {
		return err
	}
	err = w.place("link", f, name, func(parent int) error {
		return unix.Linkat(from, targetName, parent, name, 0)
	})
	if errors.Is(err, unix.ENOENT) && w.lenient && (in.Kind == Char || in.Kind == Block) {
		w.lost++ // the device itself could not be made
		return nil
	}
	return err
}

// file makes anything but a directory, with all its metadata.
func (w *writer) file(f *folder, name string, in *Inode, body io.Reader, sparse bool) error {
	switch in.Kind {
	case Regular:
		return w.regular(f, name, in, func(fd int) error {
			if sparse {
				return fillSparse(fd, in.Size, body, w.buf)
			}
			return fill(fd, in.Size, body, w.buf)
		})
	case Symlink:
		return w.symlink(f, name, in)
	case Char, Block, Fifo:
		return w.node(f, name, in)
	}
	return w.fail("write", f, name, fmt.Errorf("kind %d", in.Kind))
}

func (w *writer) regular(f *folder, name string, in *Inode, fill func(fd int) error) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd := -1
	err := w.place("create", f, name, func(parent int) (err error) {
		fd, err = openat(parent, name, flags, in.Mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	if in.Size > 0 {
		err = fill(fd)
	}
	if err == nil {
		err = w.metaFile(fd, f, in)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		if parent, oerr := w.open(f); oerr == nil {
			_ = unix.Unlinkat(parent, name, 0)
		}
		return w.fail("write", f, name, err)
	}
	return nil
}

func (w *writer) symlink(f *folder, name string, in *Inode) error {
	err := w.place("symlink", f, name, func(parent int) error { return unix.Symlinkat(in.Target, parent, name) })
	if err != nil {
		return err
	}
	return w.metaAt(f, name, in)
}

func (w *writer) node(f *folder, name string, in *Inode) error {
	if w.record != nil && in.Kind != Fifo {
		return w.placeholder(f, name, in)
	}
	mode := map[Kind]uint32{Char: unix.S_IFCHR, Block: unix.S_IFBLK, Fifo: unix.S_IFIFO}[in.Kind] | in.Mode&0o777
	dev := int(unix.Mkdev(in.DevMajor, in.DevMinor))
	err := w.place("mknod", f, name, func(parent int) error { return unix.Mknodat(parent, name, mode, dev) })
	if errors.Is(err, unix.EPERM) && w.lenient {
		w.lost++
		return nil
	}
	if err != nil {
		return err
	}
	return w.metaAt(f, name, in)
}

// placeholder stands for a device that cannot be made.
func (w *writer) placeholder(f *folder, name string, in *Inode) error {
	err := w.place("make a placeholder for device", f, name, func(parent int) error {
		return unix.Mknodat(parent, name, unix.S_IFREG|0o600, 0)
	})
	if err != nil {
		return err
	}
	return w.metaAt(f, name, in)
}
