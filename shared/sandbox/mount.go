package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holder keeps descriptors until the child has what it needs.
type holder struct{ fds []int }

func (h *holder) keep(fd int, err error) (int, error) {
	if err == nil {
		h.fds = append(h.fds, fd)
	}
	return fd, err
}

func (h *holder) close() {
	for _, fd := range h.fds {
		unix.Close(fd)
	}
	h.fds = nil
}

// mountOn mounts on a place that is held open; what is not ours to name by path
// cannot be swapped under us that way.
func mountOn(what, source string, target int, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, fdPath(target), fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", what, err)
	}
	return nil
}

// restrict adds flags to the mount of which fd is the root, and keeps those it
// has: in a user namespace they must not be taken away.
func restrict(what string, fd int, flags uintptr) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("read the mount flags of %s: %w", what, err)
	}
	for _, f := range [...]struct{ st, ms uintptr }{
		{unix.ST_RDONLY, unix.MS_RDONLY},
		{unix.ST_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MS_NODEV},
		{unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME},
		{unix.ST_NODIRATIME, unix.MS_NODIRATIME},
		{unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if uintptr(st.Flags)&f.st != 0 {
			flags |= f.ms
		}
	}
	if err := unix.Mount("", fdPath(fd), "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("restrict mount %s: %w", what, err)
	}
	return nil
}

// restrictAll makes a tree of mounts read-only (mount_setattr, Linux 5.12).
func restrictAll(fd int) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
}

// overlayOptions are tried in this order: kernels refuse what they do not know.
// nofollow: a redirect in a layer that a stranger made must not be followed.
// volatile: an upper directory does not outlive the build, so what syncs in a
// step costs nothing (Linux 5.10).
var overlayOptions = [...]string{
	",index=off,metacopy=off,redirect_dir=nofollow,volatile",
	",index=off,metacopy=off,redirect_dir=nofollow",
	",index=off",
	"",
}

// mountOverlay mounts r on target and returns which of overlayOptions, beginning
// with first, the kernel took. Layers are named by descriptors, relative to
// /proc/self/fd: 500 of them fit into the page that mount(2) takes, and no name
// needs quoting.
func mountOverlay(r *Root, target, first int) (int, error) {
	var h holder
	defer h.close()
	var data strings.Builder
	seen := make(map[string]bool, len(r.Lower))
	for _, dir := range r.Lower {
		if seen[dir] {
			// A layer that is there twice says nothing new below, and overlayfs
			// refuses it (ELOOP).
			continue
		}
		fd, err := h.keep(openPath(dir, unix.O_DIRECTORY))
		if err != nil {
			return first, err
		}
		data.WriteString(separator(len(seen)) + strconv.Itoa(fd))
		seen[dir] = true
	}
	if r.Upper == "" {
		return first, mountLower(r, data.String(), len(seen), target, h.fds[0])
	}
	upper, err := h.keep(openPath(r.Upper, unix.O_DIRECTORY))
	if err != nil {
		return first, err
	}
	work, err := h.keep(openPath(r.Work, unix.O_DIRECTORY))
	if err != nil {
		return first, err
	}
	fmt.Fprintf(&data, ",upperdir=%d,workdir=%d", upper, work)
	userXattrs, err := UserXattrs(r.Work)
	if err != nil {
		return first, err
	}
	if userXattrs {
		data.WriteString(",userxattr")
	}
	return tryOverlay(r, data.String(), target, first)
}

func separator(n int) string {
	if n == 0 {
		return "lowerdir="
	}
	return ":"
}

func tryOverlay(r *Root, data string, target, first int) (int, error) {
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return first, fmt.Errorf("change to /proc/self/fd: %w", err)
	}
	for i := first; ; i++ {
		// A volatile overlay leaves a mark in it, to be refused after a crash
		// (Documentation/filesystems/overlayfs.rst); an attempt of ours that
		// went wrong later leaves it too.
		if err := os.RemoveAll(r.Work + "/work"); err != nil {
			return first, fmt.Errorf("clear the work directory: %w", err)
		}
		err := unix.Mount("overlay", fdPath(target), "overlay", unix.MS_NODEV, data+overlayOptions[i])
		if err == nil {
			return i, nil
		}
		if err != unix.EINVAL || i == len(overlayOptions)-1 {
			return first, fmt.Errorf("mount an overlay of %d layers with upper directory %s: %w", len(r.Lower), r.Upper, err)
		}
	}
}

// mountLower mounts layers read-only.
func mountLower(r *Root, data string, layers, target, top int) error {
	what := fmt.Sprintf("%d read-only layers", layers)
	if layers == 1 { // which overlayfs does not take alone
		return mountOn(what, fdPath(top), target, "", unix.MS_BIND, "")
	}
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return fmt.Errorf("change to /proc/self/fd: %w", err)
	}
	userXattrs, err := UserXattrs(r.Lower[0])
	if err != nil {
		return err
	}
	if userXattrs {
		data += ",userxattr"
	}
	return mountOn(what, "overlay", target, "overlay", unix.MS_RDONLY|unix.MS_NODEV, data)
}

// UserXattrs tells which names overlayfs gives its marks in layer directories
// here: user.overlay.* in a user namespace, else trusted.overlay.*. The answer is
// found by trying, on dir, which is left as it was.
func UserXattrs(dir string) (bool, error) {
	const name = "trusted.overlay.strake"
	switch err := unix.Setxattr(dir, name, nil, 0); err {
	case nil:
		return false, unix.Removexattr(dir, name)
	case unix.EPERM, unix.EOPNOTSUPP:
		return true, nil
	default:
		return false, fmt.Errorf("set an extended attribute on %s: %w", dir, err)
	}
}

// MountMemory mounts a file system in memory, of at most size bytes, on a
// directory of the builder's; unmount takes it away, with what is in it.
func MountMemory(dir string, size int64) (unmount func() error, err error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=755,size=%d", size)); err != nil {
		return nil, fmt.Errorf("mount a file system in memory on %s: %w", dir, err)
	}
	return func() error {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount the file system in memory on %s: %w", dir, err)
		}
		return nil
	}, nil
}
