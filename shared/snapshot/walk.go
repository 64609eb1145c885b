package snapshot

import (
	"bytes"
	"context"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dir is a directory as the walk found it, its entries by name.
type dir[T any] struct {
	path    string // relative to the root; "" for the root
	entries []entry[T]
}

type entry[T any] struct {
	name  string
	dir   *dir[T] // nil for anything but a directory
	value T
}

// spot is where the walk stands when it asks what to remember of a file.
type spot struct {
	root string
	fd   int // of the directory
	path string
	name []byte // valid while it stands there
}

func (at *spot) full() string { return join(at.path, string(at.name)) }

// walker reads a directory tree by getdents64 and statx, by several goroutines
// at once, each with one directory at a time.
type walker[T any] struct {
	root   string
	mask   int // of statx
	ignore func(path string) bool
	// visit says what to remember of a file, or to pass over it.
	visit func(at *spot, st *unix.Statx_t) (v T, keep bool, err error)
	// fold, where set, is given what was found in each directory, by name; only the
	// directories in it are remembered. It must not hold on to all.
	fold func(d *dir[T], all []entry[T])

	rootFD int
	mu     sync.Mutex
	more   sync.Cond
	stack  []*dir[T]
	busy   int
	err    error
}

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// walkers are more than processors: a cold walk waits for the disk.
func walkers() int { return min(max(2, runtime.GOMAXPROCS(0)), 8) }

func (w *walker[T]) walk(ctx context.Context) (*dir[T], error) {
	fd, err := openat(unix.AT_FDCWD, w.root, dirFlags&^unix.O_NOFOLLOW)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: w.root, Err: err}
	}
	defer unix.Close(fd)
	w.rootFD = fd
	w.more.L = &w.mu
	top := &dir[T]{}
	w.stack = []*dir[T]{top}
	var wg sync.WaitGroup
	for range walkers() {
		wg.Go(func() { w.work(ctx) })
	}
	wg.Wait()
	return top, w.err
}

func (w *walker[T]) work(ctx context.Context) {
	var s scratch[T]
	for d := w.take(); d != nil; d = w.take() {
		err := context.Cause(ctx)
		if err == nil {
			err = w.read(d, &s)
		}
		w.done(s.dirs, err)
	}
}

// take returns a directory to read, or nil when there are none left.
func (w *walker[T]) take() *dir[T] {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.stack) == 0 && w.busy > 0 && w.err == nil {
		w.more.Wait()
	}
	if len(w.stack) == 0 || w.err != nil {
		w.more.Broadcast()
		return nil
	}
	d := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	w.busy++
	return d
}

func (w *walker[T]) done(found []*dir[T], err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	if err != nil && w.err == nil {
		w.err = err
	}
	w.stack = append(w.stack, found...)
	if len(w.stack) > 0 || w.busy == 0 || w.err != nil {
		w.more.Broadcast()
	}
}

// scratch is what one goroutine uses again for each directory.
type scratch[T any] struct {
	buf     []byte
	names   []byte // those kept, one after the other
	ends    []int
	entries []entry[T]
	dirs    []*dir[T]
	st      unix.Statx_t
}

func (w *walker[T]) read(d *dir[T], s *scratch[T]) error {
	if s.buf == nil {
		s.buf = make([]byte, 64<<10)
	}
	s.names, s.ends, s.entries, s.dirs = s.names[:0], s.ends[:0], s.entries[:0], s.dirs[:0]
	fd, err := openBelow(w.rootFD, d.path)
	if err != nil {
		return &fs.PathError{Op: "open", Path: w.root + "/" + d.path, Err: err}
	}
	defer unix.Close(fd)
	at := spot{root: w.root, fd: fd, path: d.path}
	for {
		n, err := unix.Getdents(fd, s.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "read", Path: w.root + "/" + d.path, Err: err}
		}
		if n <= 0 {
			break
		}
		if err := w.dirents(&at, s.buf[:n], s); err != nil {
			return err
		}
	}
	all := s.take(d.path)
	if w.fold != nil {
		w.fold(d, all)
		all = slices.DeleteFunc(all, func(e entry[T]) bool { return e.dir == nil })
	}
	d.entries = slices.Clone(all)
	clear(s.entries)
	return nil
}

// dirents handles a buffer of linux_dirent64: inode and offset of 8 bytes each,
// record length of 2, type of 1, and the name, which ends with a NUL.
func (w *walker[T]) dirents(at *spot, buf []byte, s *scratch[T]) error {
	const nameOffset = 19
	for len(buf) > 0 {
		d := (*unix.Dirent)(unsafe.Pointer(&buf[0]))
		name := buf[nameOffset:d.Reclen]
		buf = buf[d.Reclen:]
		name = name[:bytes.IndexByte(name, 0)]
		if string(name) == "." || string(name) == ".." {
			continue
		}
		if err := w.file(at, name, s); err != nil {
			return err
		}
	}
	return nil
}

// file looks at one name. What is gone by now was never there.
func (w *walker[T]) file(at *spot, name []byte, s *scratch[T]) error {
	if w.ignore != nil && w.ignore(join(at.path, string(name))) {
		return nil
	}
	// The NUL behind the name is still there; x/sys would copy the name.
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(at.fd), uintptr(unsafe.Pointer(&name[0])),
		unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, uintptr(w.mask), uintptr(unsafe.Pointer(&s.st)), 0)
	if errno == unix.ENOENT {
		return nil
	}
	if errno != 0 {
		return &fs.PathError{Op: "statx", Path: w.root + "/" + join(at.path, string(name)), Err: errno}
	}
	// What is mounted here does not belong to the tree.
	kind := s.st.Mode & unix.S_IFMT
	if kind == unix.S_IFSOCK || s.st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil
	}
	at.name = name
	v, keep, err := w.visit(at, &s.st)
	if err != nil || !keep {
		return err
	}
	e := entry[T]{value: v}
	if kind == unix.S_IFDIR {
		e.dir = &dir[T]{}
		s.dirs = append(s.dirs, e.dir)
	}
	s.entries = append(s.entries, e)
	s.names = append(s.names, name...)
	s.ends = append(s.ends, len(s.names))
	return nil
}

// take sorts the entries of a directory, whose names share one string.
func (s *scratch[T]) take(path string) []entry[T] {
	names, start := string(s.names), 0
	for i, end := range s.ends {
		e := &s.entries[i]
		e.name = names[start:end]
		start = end
		if e.dir != nil {
			e.dir.path = join(path, e.name)
		}
	}
	slices.SortFunc(s.entries, func(a, b entry[T]) int { return strings.Compare(a.name, b.name) })
	return s.entries
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func openat(fd int, name string, flags int) (int, error) {
	for {
		n, err := unix.Openat(fd, name, flags, 0)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// openBelow opens a directory below another, however long its path.
func openBelow(root int, path string) (int, error) {
	if path == "" {
		return openat(root, ".", dirFlags)
	}
	const most = unix.PathMax - 1
	if len(path) < most {
		return openat(root, path, dirFlags)
	}
	cut := strings.LastIndexByte(path[:most], '/')
	fd, err := openat(root, path[:cut], dirFlags)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return openBelow(fd, path[cut+1:])
}
