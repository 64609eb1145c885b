package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// furniture is what a root gets for the length of a step where nothing can be
// mounted: device nodes, and sources moved into place. restore puts everything
// back, in the opposite order, and gives directories the times that they would
// have had.
type furniture struct {
	holder
	dir     string // the root
	spare   string // a directory outside of it, on the same filesystem
	noDev   bool   // the root has a /dev of its own
	copies  copier // for sources on another filesystem
	root    int
	aside   string // what was in the way, below spare
	hidden  int    // how much of it
	undoing []func() error
}

func (f *furniture) place(p *Process) (err error) {
	if f.root, err = f.keep(openPath(f.dir, unix.O_DIRECTORY)); err != nil {
		return err
	}
	if !f.noDev {
		if err := f.placeDev(); err != nil {
			return err
		}
	}
	for i := range p.Mounts {
		if err := f.mount(&p.Mounts[i], p.Mounts[:i]); err != nil {
			return fmt.Errorf("mount on %s: %w", p.Mounts[i].Target, err)
		}
	}
	if p.MakeCwd {
		if err := f.makePoint(p.Cwd, true, p.Mounts); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
	}
	return nil
}

// restore is to be called when all processes of the step are dead.
func (f *furniture) restore() error {
	var errs []error
	for _, undo := range slices.Backward(f.undoing) {
		errs = append(errs, undo())
	}
	f.close()
	if f.aside != "" {
		errs = append(errs, os.Remove(f.aside)) // not empty: something was not put back
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("put %s back in order: %w", f.dir, err)
	}
	return nil
}

// spot is a name in a directory that is held open.
type spot struct {
	dir  int
	name string
}

// replace has put make something at a spot, keeping aside what is there, and
// remembers how to undo both. undo, which may be nil, runs before the spot is
// cleared.
func (f *furniture) replace(s spot, place, undo func() error) error {
	before, err := mtime(s.dir)
	if err != nil {
		return err
	}
	back, err := f.hide(s)
	if err != nil {
		return err
	}
	placed := place()
	during, err := mtime(s.dir)
	f.undoing = append(f.undoing, func() error {
		now, err := mtime(s.dir)
		if err != nil {
			return err
		}
		if now == during { // the step did not touch it
			now = before
		}
		if undo != nil && placed == nil {
			err = undo()
		}
		return errors.Join(err, s.clear(), back(), setMtime(s.dir, now))
	})
	return errors.Join(placed, err)
}

// hide moves aside what is at a spot.
func (f *furniture) hide(s spot) (back func() error, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(s.dir, s.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return func() error { return nil }, nil
	}
	if err == nil && f.aside == "" {
		f.aside, err = os.MkdirTemp(f.spare, ".aside-*")
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", s.name, err)
	}
	f.hidden++
	place := filepath.Join(f.aside, strconv.Itoa(f.hidden))
	if err := unix.Renameat(s.dir, s.name, unix.AT_FDCWD, place); err != nil {
		return nil, fmt.Errorf("move %s aside: %w", s.name, err)
	}
	return func() error {
		if err := unix.Renameat(unix.AT_FDCWD, place, s.dir, s.name); err != nil {
			return fmt.Errorf("move %s back: %w", s.name, err)
		}
		return nil
	}, nil
}

// clear removes what is at a spot, all of it, following no symlink.
func (s spot) clear() error {
	if err := unix.Unlinkat(s.dir, s.name, 0); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	parent, err := os.OpenRoot(fdPath(s.dir))
	if err != nil {
		return err
	}
	return errors.Join(parent.RemoveAll(s.name), parent.Close())
}

func mtime(fd int) (unix.Timespec, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return unix.Timespec{}, fmt.Errorf("stat a directory of the root: %w", err)
	}
	return st.Mtim, nil
}

func setMtime(fd int, t unix.Timespec) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, t}
	err := unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(fd), times, 0)
	// Only its owner may (utimensat(2)). In place some directories are the
	// container runtime's: "/", and those above its mounts.
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set the time of a directory of the root: %w", err)
	}
	return nil
}

// nodes are the devices that every process may expect, by their numbers
// (Documentation/admin-guide/devices.txt).
var nodes = [...]struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

// placeDev makes device nodes; those that the root has already stay.
func (f *furniture) placeDev() error {
	dev, err := f.keep(openIn(f.root, "/dev", unix.RESOLVE_NO_SYMLINKS))
	if errors.Is(err, unix.ENOENT) {
		if err := f.makeDir(spot{f.root, "dev"}, 0o755); err != nil {
			return err
		}
		dev, err = f.keep(openIn(f.root, "/dev", unix.RESOLVE_NO_SYMLINKS))
	}
	if err != nil {
		return err
	}
	for _, n := range nodes {
		number := unix.Mkdev(n.major, n.minor)
		var st unix.Stat_t
		err := unix.Fstatat(dev, n.name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode == unix.S_IFCHR|0o666 && uint64(st.Rdev) == number {
			continue
		}
		if err := f.replace(spot{dev, n.name}, func() error { return mknod(dev, n.name, number) }, nil); err != nil {
			return fmt.Errorf("make /dev/%s: %w", n.name, err)
		}
	}
	for _, l := range devLinks {
		var st unix.Stat_t
		if unix.Fstatat(dev, l[1], &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			continue
		}
		if err := f.replace(spot{dev, l[1]}, func() error { return unix.Symlinkat(l[0], dev, l[1]) }, nil); err != nil {
			return fmt.Errorf("make /dev/%s: %w", l[1], err)
		}
	}
	return f.makeDir(spot{dev, "shm"}, 0o1777)
}

func mknod(dir int, name string, number uint64) error {
	if err := unix.Mknodat(dir, name, unix.S_IFCHR|0o666, int(number)); err != nil {
		return err
	}
	return unix.Fchmodat(dir, name, 0o666, 0) // whatever the umask
}

// makeDir makes an empty directory.
func (f *furniture) makeDir(s spot, mode uint32) error {
	return f.replace(s, func() error {
		if err := unix.Mkdirat(s.dir, s.name, 0o700); err != nil {
			return fmt.Errorf("make directory %s: %w", s.name, err)
		}
		return unix.Fchmodat(s.dir, s.name, mode, 0)
	}, nil)
}
