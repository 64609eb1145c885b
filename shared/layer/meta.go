package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Metadata is written in one order: owner, mode, attributes, times. A chown
// takes setuid bits and capabilities away, and everything moves the times.

// permit lets pass what an ordinary user is refused, where that is wanted.
// EINVAL is chown's answer to an id that the user namespace does not map.
func (w *writer) permit(err error) error {
	if err == nil || !w.lenient {
		return err
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		w.lost++
		return nil
	}
	return err
}

// mode is what a file gets on disk.
func (w *writer) mode(in *Inode) uint32 {
	switch {
	case !w.relax:
		return in.Mode
	case in.Kind == Dir:
		return in.Mode | 0o700
	default:
		return in.Mode | 0o600
	}
}

// plain tells whether a file made with these bits has them without a chmod.
func (w *writer) plain(f *folder, mode uint32) bool {
	return mode&0o7000 == 0 && mode&w.umask == 0 && !f.heir.acl
}

func (w *writer) metaFile(fd int, f *folder, in *Inode) error {
	mode := w.mode(in)
	if w.foreign(f, in) {
		if err := w.permit(chownError(unix.Fchown(fd, int(in.UID), int(in.GID)), in)); err != nil {
			return err
		}
	}
	if f.heir.acl {
		_ = unix.Fremovexattr(fd, "system.posix_acl_access")
	}
	if mode != in.Mode&0o777 || !w.plain(f, mode) {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	for name, value := range w.xattrs(in) {
		if err := w.xattr(name, unix.Fsetxattr(fd, name, []byte(value), 0)); err != nil {
			return err
		}
	}
	if err := futimes(fd, in.ModTime); err != nil {
		return err
	}
	return w.note(fd, "", in)
}

// metaAt is for what can't or should not be opened.
func (w *writer) metaAt(f *folder, name string, in *Inode) error {
	parent, err := w.open(f)
	if err != nil {
		return err
	}
	if w.foreign(f, in) {
		err := unix.Fchownat(parent, name, int(in.UID), int(in.GID), unix.AT_SYMLINK_NOFOLLOW)
		if err := w.permit(chownError(err, in)); err != nil {
			return w.fail("chown", f, name, err)
		}
	}
	full := w.dir + "/" + f.join(name)
	if in.Kind != Symlink {
		if f.heir.acl {
			_ = unix.Lremovexattr(full, "system.posix_acl_access")
		}
		if mode := w.mode(in); !w.plain(f, mode) {
			if err := unix.Fchmodat(parent, name, mode, 0); err != nil {
				return w.fail("chmod", f, name, err)
			}
		}
	}
	for attr, value := range w.xattrs(in) {
		if err := w.xattr(attr, unix.Lsetxattr(full, attr, []byte(value), 0)); err != nil {
			return w.fail("setxattr", f, name, err)
		}
	}
	if err := utimesAt(parent, name, in.ModTime); err != nil {
		return w.fail("utimensat", f, name, err)
	}
	return w.note(parent, name, in)
}

func (w *writer) xattr(name string, err error) error {
	if errors.Is(err, unix.ENOTSUP) {
		// The file system has no such attributes; the table still does.
		w.lost++
		return nil
	}
	if err != nil {
		err = fmt.Errorf("set extended attribute %s: %w", name, err)
	}
	return w.permit(err)
}

func chownError(err error, in *Inode) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("chown to %d:%d: %w", in.UID, in.GID, err)
}

// settleAll gives directories their metadata, children before parents, since
// each file made in a directory moves its time, and a parent may be shut.
func (w *writer) settleAll(folders []*folder, lower func(string) *Inode) error {
	for _, f := range slices.Backward(folders) {
		if f.gone {
			continue
		}
		in := f.node.Inode
		if in == nil && f.before == nil && lower != nil {
			in = dirInode(lower(f.path))
		}
		if err := w.settle(f, in); err != nil {
			return err
		}
	}
	return nil
}

func dirInode(in *Inode) *Inode {
	if in == nil || in.Kind != Dir {
		return nil
	}
	return in
}

// passed is what a directory gets of which nobody knows anything.
var passed = &Inode{Kind: Dir, Mode: 0o755}

func (w *writer) settle(f *folder, in *Inode) error {
	if in == nil && f.before != nil {
		return w.settleTimes(f, f.before.ModTime)
	}
	if in == nil && f.parent == nil {
		return nil // the caller made it, and knows better
	}
	if in == nil {
		in = passed
	}
	parent, name, err := w.handle(f)
	if err != nil {
		return err
	}
	lost := w.lost
	if w.record == nil && (!f.made || w.foreign(f, in)) {
		err := unix.Fchownat(parent, name, int(in.UID), int(in.GID), unix.AT_SYMLINK_NOFOLLOW)
		if err := w.permit(chownError(err, in)); err != nil {
			return w.fail("chown", f, "", err)
		}
	}
	if f.heir.acl || !f.made {
		if err := w.dropXattrs(f, in); err != nil {
			return err
		}
	}
	if err := w.permit(unix.Fchmodat(parent, name, w.mode(in), 0)); err != nil {
		return w.fail("chmod", f, "", err)
	}
	if err := w.settleXattrs(f, in); err != nil {
		return w.fail("setxattr", f, "", err)
	}
	if err := w.settleTimes(f, in.ModTime); err != nil {
		return err
	}
	// Of a directory that was there, something else may be recorded; and one
	// that is another's on the disk may have refused anything.
	if !f.made || w.lost > lost {
		return w.noteAnyway(parent, name, in)
	}
	return w.note(parent, name, in)
}

// handle names a directory by its parent, so that it need not be opened.
func (w *writer) handle(f *folder) (int, string, error) {
	if f.parent == nil {
		return f.fd, ".", nil
	}
	fd, err := w.open(f.parent)
	return fd, f.name, err
}

func (w *writer) settleTimes(f *folder, t time.Time) error {
	parent, name, err := w.handle(f)
	if err != nil {
		return err
	}
	if err := w.permit(utimesAt(parent, name, t)); err != nil {
		return w.fail("utimensat", f, "", err)
	}
	return nil
}

// dropXattrs takes away what a directory inherited, or had before.
func (w *writer) dropXattrs(f *folder, in *Inode) error {
	fd, err := w.open(f)
	if err != nil {
		return err
	}
	for _, name := range listXattrs(fd) {
		if _, keep := in.Xattrs[name]; !keep && KeepXattr(name) {
			_ = unix.Fremovexattr(fd, name)
		}
	}
	return nil
}

func (w *writer) settleXattrs(f *folder, in *Inode) error {
	opaque := f.node.Opaque && !w.onto
	if !opaque && len(in.Xattrs) == 0 {
		return nil
	}
	fd, err := w.open(f)
	if err != nil {
		return err
	}
	if opaque {
		name := OpaqueXattr(w.userXattr)
		if err := unix.Fsetxattr(fd, name, []byte("y"), 0); err != nil {
			// Without it the directory would show what it must hide.
			return w.permit(&fs.PathError{Op: "set " + name, Path: f.path, Err: err})
		}
	}
	for name, value := range w.xattrs(in) {
		if err := w.xattr(name, unix.Fsetxattr(fd, name, []byte(value), 0)); err != nil {
			return err
		}
	}
	return nil
}

func listXattrs(fd int) []string {
	buf := make([]byte, maxXattr)
	n, err := unix.Flistxattr(fd, buf)
	if err != nil || n == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
}

// times leaves the access time as it is: one that is older than the time of
// modification makes the first reader of each file write to the disk (relatime).
func times(t time.Time) [2]unix.Timespec {
	if t.IsZero() {
		return [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	}
	mod, err := unix.TimeToTimespec(t)
	if err != nil { // beyond what this system counts in
		return [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	}
	return [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, mod}
}

func futimes(fd int, t time.Time) error {
	ts := times(t)
	// utimensat with a null path is futimens, which x/sys does not offer.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("set times: %w", errno)
	}
	return nil
}

func utimesAt(dir int, name string, t time.Time) error {
	ts := times(t)
	return unix.UtimesNanoAt(dir, name, ts[:], unix.AT_SYMLINK_NOFOLLOW)
}

func timeOf(ts unix.Timespec) time.Time { return time.Unix(ts.Unix()) }
