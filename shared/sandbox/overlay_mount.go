package sandbox

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// mount makes the nth of the caller's mounts.
func (s *step) mount(m *Mount, n int) error {
	if m.Tmpfs {
		target, err := s.target(m, true)
		if err != nil {
			return err
		}
		return mountTmpfs(m, target)
	}
	source, cleanup, err := s.source(m, n)
	if err != nil {
		return err
	}
	target, err := s.target(m, isDir(source))
	if err == nil {
		err = mountOn("source", fdPath(source), target, "", unix.MS_BIND, "")
	}
	if err := errors.Join(err, cleanup()); err != nil {
		return err
	}
	mounted, err := s.keep(openIn(s.root, m.Target, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return err
	}
	return restrict("source", mounted, m.flags(mounted))
}

// target opens the place where m is to be seen.
func (s *step) target(m *Mount, dir bool) (int, error) {
	if m.Make {
		if err := makePoint(s.root, m.Target, dir); err != nil {
			return -1, err
		}
	}
	return s.keep(openIn(s.root, m.Target, unix.RESOLVE_NO_SYMLINKS))
}

// flags are what the mount at fd is restricted by. A device that the caller
// hands in is meant to be opened; those that a step makes are not.
func (m *Mount) flags(fd int) uintptr {
	var flags uintptr
	if isDir(fd) {
		flags |= unix.MS_NODEV
	}
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if m.NoExec {
		flags |= unix.MS_NOEXEC
	}
	if m.NoSuid {
		flags |= unix.MS_NOSUID
	}
	return flags
}

func mountTmpfs(m *Mount, target int) error {
	mode := m.Mode
	if mode == 0 {
		mode = 0o755
	}
	data := fmt.Sprintf("mode=%o", mode)
	if m.Size > 0 {
		data += fmt.Sprintf(",size=%d", m.Size)
	}
	return mountOn("a tmpfs", "tmpfs", target, "tmpfs", m.flags(target)|unix.MS_NOSUID|unix.MS_NODEV, data)
}

// source opens what is to be bound. An overlay is mounted below the step's own
// /dev for the moment; cleanup takes it away there.
func (s *step) source(m *Mount, n int) (fd int, cleanup func() error, err error) {
	cleanup = func() error { return nil }
	var dir int
	if m.Overlay != nil {
		dir, cleanup, err = s.mountAside(m.Overlay, n)
	} else {
		dir, err = s.keep(openSource(m.Source))
	}
	if err != nil || m.Subdir == "" {
		return dir, cleanup, err
	}
	fd, err = s.keep(openIn(dir, m.Subdir, 0))
	if err != nil {
		err = errors.Join(fmt.Errorf("source: %w", err), cleanup())
	}
	return fd, cleanup, err
}

// openSource opens a source; one that is a symlink would be bound as a symlink.
func openSource(name string) (int, error) {
	fd, err := openPath(name, unix.O_NOFOLLOW)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		unix.Close(fd)
		return -1, fmt.Errorf("open %s: %w", name, cmp.Or(err, error(unix.ELOOP)))
	}
	return fd, nil
}

func (s *step) mountAside(r *Root, n int) (int, func() error, error) {
	name := fmt.Sprintf(".overlay%d", n)
	if err := unix.Mkdirat(s.dev, name, 0o755); err != nil {
		return -1, nil, fmt.Errorf("make a directory for an overlay: %w", err)
	}
	below, err := s.keep(openIn(s.dev, name, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return -1, nil, err
	}
	if r.Dir != "" {
		err = s.bindDir(r.Dir, below)
	} else {
		_, err = mountOverlay(r, below, int(s.options.Load()))
	}
	if err != nil {
		return -1, nil, err
	}
	fd, err := s.keep(openIn(s.dev, name, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return -1, nil, err
	}
	return fd, func() error {
		if err := unix.Unmount(fdPath(fd), unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount an overlay aside: %w", err)
		}
		return unix.Unlinkat(s.dev, name, unix.AT_REMOVEDIR)
	}, nil
}

func (s *step) bindDir(dir string, target int) error {
	source, err := s.keep(openPath(dir, unix.O_DIRECTORY))
	if err != nil {
		return err
	}
	return mountOn(dir, fdPath(source), target, "", unix.MS_BIND, "")
}
