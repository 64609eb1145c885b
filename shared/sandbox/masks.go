package sandbox

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// masks are the parts of /proc and /sys that a process does not see, or cannot
// write: those of the OCI runtimes' defaults that this kernel has.
type masks struct {
	dirs, files []string // below /proc, without the slash: "proc/kcore"
	readOnly    []string
	sys         []string
	cgroup      bool // the builder has /sys/fs/cgroup
}

// findMasks looks at the builder's own /proc and /sys, which are this kernel's.
func findMasks() masks {
	var m masks
	for _, name := range []string{"acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"} {
		switch info, err := os.Lstat("/proc/" + name); {
		case err != nil:
		case info.IsDir():
			m.dirs = append(m.dirs, "proc/"+name)
		default:
			m.files = append(m.files, "proc/"+name)
		}
	}
	exists := func(name string, want fs.FileMode) bool {
		info, err := os.Lstat(name)
		return err == nil && info.Mode()&fs.ModeSymlink == 0 && (want == 0 || info.Mode()&want != 0)
	}
	for _, name := range []string{"bus", "fs", "irq", "sys", "sysrq-trigger"} {
		if exists("/proc/"+name, 0) {
			m.readOnly = append(m.readOnly, "proc/"+name)
		}
	}
	for _, name := range []string{"/sys/firmware", "/sys/devices/virtual/powercap"} {
		if exists(name, fs.ModeDir) {
			m.sys = append(m.sys, name)
		}
	}
	m.cgroup = exists("/sys/fs/cgroup", fs.ModeDir)
	return m
}

// hideProc adds what the child does to its /proc, relative to the new root.
func (m *masks) hideProc(pr *program) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, name := range m.readOnly {
		pr.mount(name, name, "", unix.MS_BIND, "")
		pr.mount("", name, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, "").what = "make read-only " + name
	}
	for _, name := range m.dirs {
		pr.mount("dev/"+maskDir, name, "", unix.MS_BIND, "")
	}
	for _, name := range m.files {
		pr.mount("dev/null", name, "", unix.MS_BIND, "")
	}
	mask := pr.str("dev/" + maskDir)
	pr.add("unmount the mask", unix.SYS_UMOUNT2, mask, unix.MNT_DETACH)
	pr.add("remove the mask", unix.SYS_UNLINKAT, at(unix.AT_FDCWD), mask, unix.AT_REMOVEDIR)
}

// hideSys masks parts of /sys.
func (m *masks) hideSys(s *step) error {
	mask, err := s.keep(openIn(s.dev, maskDir, unix.RESOLVE_NO_SYMLINKS))
	if err != nil {
		return err
	}
	for _, name := range m.sys {
		target, err := s.keep(openIn(s.root, name, unix.RESOLVE_NO_SYMLINKS))
		if err != nil {
			return err
		}
		if err := mountOn(name, fdPath(mask), target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}
