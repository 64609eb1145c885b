package layer

import (
	"io/fs"
	"maps"
	"strings"

	"golang.org/x/sys/unix"
)

// foreign tells whether a new file must be given away.
func (w *writer) foreign(f *folder, in *Inode) bool {
	return w.record == nil && (in.UID != w.uid || in.GID != f.heir.gid)
}

// xattrs are the attributes that are written.
func (w *writer) xattrs(in *Inode) map[string]string {
	if w.record == nil || len(in.Xattrs) == 0 {
		return in.Xattrs
	}
	own := maps.Clone(in.Xattrs)
	maps.DeleteFunc(own, func(name, _ string) bool { return Privileged(name) })
	return own
}

// Privileged tells whether only root may set an extended attribute (xattr(7)).
func Privileged(name string) bool {
	return strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.")
}

// Recorded tells whether an extended attribute is recorded where users are emulated: the kernel refuses those of root, and
// access control lists that name users who are not known to it.
func Recorded(name string) bool {
	return Privileged(name) || name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// exceptional tells whether a file is more than the disk of an ordinary user can
// say. The kernel takes set-user-ID from a file that its owner writes to, so that
// is recorded, too.
func (w *writer) exceptional(in *Inode) bool {
	const setID = unix.S_ISUID | unix.S_ISGID
	if in.UID != 0 || in.GID != 0 || in.Kind == Char || in.Kind == Block {
		return true
	}
	if in.Kind != Symlink && w.mode(in) != in.Mode || in.Kind == Regular && in.Mode&setID != 0 {
		return true
	}
	for name := range in.Xattrs {
		if Recorded(name) {
			return true
		}
	}
	return false
}

// note has recorded what the disk does not say about a file: that open at fd,
// or called name in the directory fd.
func (w *writer) note(fd int, name string, in *Inode) error {
	if w.record == nil || !w.exceptional(in) {
		return nil
	}
	return w.noteAnyway(fd, name, in)
}

func (w *writer) noteAnyway(fd int, name string, in *Inode) error {
	if w.record == nil {
		return nil
	}
	var st unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if err := unix.Statx(fd, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, mask, &st); err != nil {
		return &fs.PathError{Op: "statx", Path: name, Err: err}
	}
	w.record(&st, in)
	return nil
}
