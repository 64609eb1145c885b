package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// mount puts m's source where it is to be seen, after those that came before.
func (f *furniture) mount(m *Mount, before []Mount) error {
	if m.Tmpfs {
		s, err := f.spot(m, true, before)
		if err != nil {
			return err
		}
		mode := m.Mode
		if mode == 0 {
			mode = 0o755
		}
		return f.makeDir(s, mode)
	}
	fd, err := f.keep(openSource(m.Source))
	if err == nil && m.Subdir != "" {
		fd, err = f.keep(openIn(fd, m.Subdir, 0))
	}
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	s, err := f.spot(m, isDir(fd), before)
	if err != nil {
		return err
	}
	g := &guest{fd: fd, spot: s, readOnly: m.ReadOnly, copies: &f.copies}
	if g.home, err = nameOf(fd); err != nil {
		return err
	}
	return f.replace(s, g.in, g.out)
}

// spot opens the place where m is to be seen.
func (f *furniture) spot(m *Mount, dir bool, before []Mount) (spot, error) {
	if m.Make {
		if err := f.makePoint(m.Target, dir, before); err != nil {
			return spot{}, err
		}
	}
	parent, err := f.keep(openIn(f.root, path.Dir(m.Target), unix.RESOLVE_NO_SYMLINKS))
	return spot{parent, path.Base(m.Target)}, err
}

// makePoint makes a place in what is mounted there. What is read-only can be
// written here, but is not by us: it would be refused where mounts are mounts.
func (f *furniture) makePoint(name string, dir bool, mounts []Mount) error {
	fd, err := openIn(f.root, name, unix.RESOLVE_NO_SYMLINKS)
	if err == nil {
		return unix.Close(fd)
	}
	for _, m := range slices.Backward(mounts) {
		if !under(name, m.Target) {
			continue
		}
		if m.ReadOnly && errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("make %s in %s: %w", name, m.Target, unix.EROFS)
		}
		break
	}
	return makePoint(f.root, name, dir)
}

// guest is a source on a visit to the root.
type guest struct {
	fd       int    // the source, wherever it is
	home     string // where it belongs
	spot     spot
	readOnly bool
	copied   bool // it lies on another filesystem
	copies   *copier
}

// in moves the source, or copies it from another filesystem.
func (g *guest) in() error {
	err := unix.Renameat(unix.AT_FDCWD, g.home, g.spot.dir, g.spot.name)
	if !errors.Is(err, unix.EXDEV) {
		if err != nil {
			return fmt.Errorf("move %s into the root: %w", g.home, err)
		}
		return nil
	}
	g.copied = true
	return g.copies.tree(unix.AT_FDCWD, g.home, g.spot.dir, g.spot.name)
}

// out brings the source home from wherever the step has moved it: the
// descriptor knows. What now has its name in the root is none of ours.
func (g *guest) out() error {
	if g.copied {
		return g.copyBack()
	}
	var st unix.Stat_t
	if err := unix.Fstat(g.fd, &st); err != nil {
		return err
	}
	name, err := nameOf(g.fd)
	if errors.Is(err, os.ErrNotExist) {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		// Of a mounted directory the step would have removed the content only.
		return makeLike(g.home, &st)
	}
	if err != nil {
		return err
	}
	if err := unix.Rename(name, g.home); err != nil {
		return fmt.Errorf("move %s back: %w", g.home, err)
	}
	return nil
}

// copyBack replaces the source by what the step made of the copy.
func (g *guest) copyBack() error {
	var st unix.Stat_t
	err := unix.Fstatat(g.spot.dir, g.spot.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if g.readOnly || err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	fresh := g.home + ".new"
	if err := g.copies.tree(g.spot.dir, g.spot.name, unix.AT_FDCWD, fresh); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.RemoveAll(g.home); err != nil {
		return err
	}
	return os.Rename(fresh, g.home)
}

func makeLike(name string, st *unix.Stat_t) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := os.Chown(name, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(name, st.Mode&0o7777)
}

// nameOf asks the kernel for the present name of what is held open; ErrNotExist
// when it has none any more.
func nameOf(fd int) (string, error) {
	name, err := os.Readlink(fdPath(fd))
	if err != nil {
		return "", err
	}
	id, err := statFD(fd)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if (fileID{uint64(st.Dev), st.Ino}) != id { // "/x (deleted)" can be a name, too
		return "", &os.PathError{Op: "find", Path: name, Err: unix.ENOENT}
	}
	return name, nil
}
