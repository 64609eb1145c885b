package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// walker reads a directory tree with several goroutines. Every one of them has
// a matcher; those in idle wait for work.
type walker struct {
	root   *root
	xattrs xattrReader
	idle   chan *matcher

	mu    sync.Mutex
	links map[fileID]*layer.Inode
}

// fileID names a file on this machine: the number alone is not enough, as a
// context may have mounts in it.
type fileID struct{ dev, ino uint64 }

// task is a directory to be read.
type task struct {
	path  string
	trail trail
	// taken says that the directory itself is wanted, not only what may be in it.
	taken bool

	node *layer.Node
	err  error
}

// dir returns what is taken in a directory.
func (w *walker) dir(ctx context.Context, m *matcher, t task) ([]*layer.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	nodes, dirs, err := w.list(m, t)
	if errors.Is(err, fs.ErrNotExist) || (!t.taken && errors.Is(err, fs.ErrPermission)) {
		return nil, nil // removed meanwhile; or left out, and nobody can say what is in it
	}
	if err != nil {
		return nil, err
	}
	w.descend(ctx, m, dirs)
	for i := range dirs {
		if dirs[i].err != nil {
			return nil, dirs[i].err
		}
		if dirs[i].taken || dirs[i].node.Len() > 0 {
			nodes = append(nodes, dirs[i].node)
		}
	}
	return nodes, nil
}

// descend fills the nodes of directories, side by side where there is somebody
// to do it.
func (w *walker) descend(ctx context.Context, m *matcher, dirs []task) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range dirs {
		select {
		case other := <-w.idle:
			wg.Go(func() {
				w.fill(ctx, other, &dirs[i])
				w.idle <- other
			})
		default:
			w.fill(ctx, m, &dirs[i])
		}
	}
}

func (w *walker) fill(ctx context.Context, m *matcher, t *task) {
	nodes, err := w.dir(ctx, m, *t)
	t.err = err
	for _, n := range nodes {
		t.node.Set(n)
	}
}

// list reads one directory: what is taken of its files, and the directories
// that have to be read. The directory is closed before these are, so that the
// depth of a tree costs no descriptors.
func (w *walker) list(m *matcher, t task) ([]*layer.Node, []task, error) {
	fd, err := w.root.open(t.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: t.path, Err: replaced(err)}
	}
	f := os.NewFile(uintptr(fd), t.path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	nodes := make([]*layer.Node, 0, len(names))
	var dirs []task
	for _, name := range names {
		p := name
		if t.path != "" {
			p = t.path + "/" + name
		}
		taken, below, here, err := m.judge(p, t.trail)
		if err != nil {
			return nil, nil, err
		}
		if !taken && !below {
			continue
		}
		ino, err := w.inode(fd, name, p, taken)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, nil, &fs.PathError{Op: "read", Path: p, Err: err}
		}
		switch n := (&layer.Node{Name: name, Inode: ino}); {
		case ino.Kind == layer.Dir:
			dirs = append(dirs, task{path: p, trail: here, taken: taken, node: n})
		case taken:
			nodes = append(nodes, n)
		}
	}
	return nodes, dirs, nil
}

// inode looks at a name in the open directory dir. Only directories matter of
// what is not taken.
func (w *walker) inode(dir int, name, p string, taken bool) (*layer.Inode, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	ino := &layer.Inode{Mode: st.Mode & 0o7777, ModTime: modTime(&st)}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		ino.Kind = layer.Dir
	case unix.S_IFREG:
		if ino.Kind = layer.Regular; taken {
			return w.regular(dir, name, p, &st, ino)
		}
		return ino, nil
	case unix.S_IFSOCK:
		// An empty file, as fsutil makes of it: a socket without its server is nothing.
		ino.Kind = layer.Regular
	case unix.S_IFLNK:
		ino.Kind, ino.Mode = layer.Symlink, 0o777
		ino.Target, err = readlinkat(dir, name)
	case unix.S_IFIFO:
		ino.Kind = layer.Fifo
	case unix.S_IFCHR, unix.S_IFBLK:
		ino.Kind = layer.Char
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			ino.Kind = layer.Block
		}
		ino.DevMajor, ino.DevMinor = unix.Major(st.Rdev), unix.Minor(st.Rdev) //nolint:unconvert // 32 bits on some architectures
	}
	if err == nil && ino.Kind == layer.Dir {
		ino.Xattrs, err = w.xattrs.read(dir, name, p)
	}
	return ino, err
}

// regular completes a regular file, or finds the one that it is a link of.
func (w *walker) regular(dir int, name, p string, st *unix.Stat_t, ino *layer.Inode) (*layer.Inode, error) {
	linked := st.Nlink > 1
	id := fileID{dev: uint64(st.Dev), ino: st.Ino} //nolint:unconvert // 32 bits on some architectures
	if linked {
		w.mu.Lock()
		defer w.mu.Unlock()
		if first := w.links[id]; first != nil {
			return first, nil
		}
	}
	ino.Size = st.Size
	if st.Size > 0 {
		ino.Content = &localFile{root: w.root, path: p, size: st.Size, mtime: ino.ModTime}
	}
	var err error
	ino.Xattrs, err = w.xattrs.read(dir, name, p)
	if linked && err == nil {
		w.links[id] = ino
	}
	return ino, err
}
