package sandbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// devices are bound from the builder's /dev: a user namespace may make none, and
// bound ones work below a /dev that is mounted nodev.
var devices = [...]string{"null", "zero", "full", "random", "urandom", "tty"}

// devLinks are the links that every /dev has.
var devLinks = [...][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
}

// maskDir is an empty read-only directory below /dev while the root is built.
const maskDir = ".mask"

// mountTree mounts a new filesystem on a directory of the root and returns its
// root, held open.
func (s *step) mountTree(target, fstype string, flags uintptr, data string) (int, error) {
	below, err := s.keep(openIn(s.root, target, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return -1, err
	}
	if err := mountOn(target, fstype, below, fstype, flags, data); err != nil {
		return -1, err
	}
	return s.keep(openIn(s.root, target, unix.RESOLVE_NO_SYMLINKS))
}

func (s *step) mountDev() (err error) {
	if s.dev, err = s.mountTree("/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_STRICTATIME, "mode=755,size=65536k"); err != nil {
		return err
	}
	for _, name := range devices {
		if err := s.bindDevice(name); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], s.dev, l[1]); err != nil {
			return fmt.Errorf("make /dev/%s: %w", l[1], err)
		}
	}
	for name, mode := range map[string]uint32{"pts": 0o755, "shm": 0o1777, "mqueue": 0o1777, maskDir: 0o555} {
		if err := unix.Mkdirat(s.dev, name, mode); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	if _, err := s.mountTree("/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=65536k"); err != nil {
		return err
	}
	_, err = s.mountTree("/dev/mqueue", "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if _, err := s.mountTree("/dev/"+maskDir, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=555,size=4k"); err != nil {
		return err
	}
	return s.mountPts()
}

func (s *step) bindDevice(name string) error {
	source, err := s.keep(openPath("/dev/"+name, unix.O_NOFOLLOW))
	if err != nil {
		if name == "tty" && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := unix.Mknodat(s.dev, name, unix.S_IFREG|0o666, 0); err != nil {
		return fmt.Errorf("make /dev/%s: %w", name, err)
	}
	target, err := s.keep(openIn(s.dev, name, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return err
	}
	return mountOn("/dev/"+name, fdPath(source), target, "", unix.MS_BIND, "")
}

// mountPts makes terminals of the step's own. Group 5 (tty) may have no id in a
// user namespace.
func (s *step) mountPts() error {
	const options = "newinstance,ptmxmode=0666,mode=0620"
	_, err := s.mountTree("/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, options+",gid=5")
	if errors.Is(err, unix.EINVAL) {
		_, err = s.mountTree("/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, options)
	}
	if err != nil {
		return err
	}
	if err := unix.Symlinkat("pts/ptmx", s.dev, "ptmx"); err != nil {
		return fmt.Errorf("make /dev/ptmx: %w", err)
	}
	return nil
}

// bindHost binds a directory of the builder and all that is mounted below it.
func (s *step) bindHost(dir string) error {
	source, err := s.keep(openPath(dir, unix.O_DIRECTORY))
	if err != nil {
		return err
	}
	target, err := s.keep(openIn(s.root, dir, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return err
	}
	return mountOn(dir, fdPath(source), target, "", unix.MS_BIND|unix.MS_REC, "")
}

// mountSys mounts /sys read-only: a fresh one, or the builder's where the
// network namespace is not ours to show.
func (s *step) mountSys() error {
	_, err := s.mountTree("/sys", "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil {
		if err := s.bindReadOnly("/sys"); err != nil {
			return err
		}
	} else if s.masks.cgroup {
		// Programs size themselves by their control group (the JVM does).
		if err := s.bindReadOnly("/sys/fs/cgroup"); err != nil {
			return err
		}
	}
	return s.masks.hideSys(s)
}

func (s *step) bindReadOnly(dir string) error {
	if err := s.bindHost(dir); err != nil {
		return err
	}
	fd, err := s.keep(openIn(s.root, dir, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return err
	}
	if restrictAll(fd) == nil {
		return nil
	}
	return restrict(dir, fd, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
}
