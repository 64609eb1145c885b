package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"golang.org/x/sys/unix"
)

// File is the identity of a file on the disk. Inode numbers are used again, the
// time of birth tells the files apart.
type File struct {
	Path  string // relative to the root
	Dev   uint64
	Ino   uint64
	Birth time.Time
	Born  bool // the file system keeps times of birth
}

// Lower answers what there is at a clean relative path in the layers below,
// merged; "" is their root.
type Lower func(path string) (*layer.Inode, bool)

// Adjust corrects what the disk says about a file, before it is compared: where
// identity is emulated, the disk does not know the owner.
type Adjust func(f File, in *layer.Inode)

const inodeMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// kinds of files by their bits in the mode.
func kindOf(mode uint16) layer.Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return layer.Dir
	case unix.S_IFLNK:
		return layer.Symlink
	case unix.S_IFCHR:
		return layer.Char
	case unix.S_IFBLK:
		return layer.Block
	case unix.S_IFIFO:
		return layer.Fifo
	}
	return layer.Regular
}

// found is a file and what makes it an inode of a layer.
type found struct {
	in     *layer.Inode
	file   File
	shared bool // it has several names
	marks  marks
}

func fileOf(st *unix.Statx_t) File {
	return File{
		Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino,
		Birth: time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)), Born: st.Mask&unix.STATX_BTIME != 0,
	}
}

// marks are the extended attributes by which overlayfs speaks to itself.
type marks struct {
	opaque   bool
	whiteout bool
}

// describe reads all that a table says about a file. The prefix is that of
// overlayfs' own attributes, "" where there is no overlay.
func describe(root, path string, fd int, name string, st *unix.Statx_t, prefix string) (found, error) {
	in := &layer.Inode{
		Kind: kindOf(st.Mode), Mode: uint32(st.Mode) & 0o7777, UID: st.Uid, GID: st.Gid,
		ModTime: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
	}
	f := found{in: in, file: fileOf(st)}
	f.file.Path = path
	f.shared = st.Nlink > 1 && in.Kind != layer.Dir
	full := root + "/" + path
	if len(full) >= unix.PathMax {
		full = fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)
	}
	switch in.Kind {
	case layer.Regular:
		in.Size = int64(st.Size)
		if in.Size > 0 {
			in.Content = &layer.File{Dir: root, Path: path}
		}
	case layer.Symlink:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, name, buf)
		if err != nil {
			return f, &fs.PathError{Op: "readlink", Path: full, Err: err}
		}
		in.Target = string(buf[:n])
	case layer.Char, layer.Block:
		in.DevMajor, in.DevMinor = st.Rdev_major, st.Rdev_minor
	}
	var err error
	in.Xattrs, f.marks, err = readXattrs(full, prefix)
	return f, err
}

// readXattrs keeps what belongs into a layer. Paths through the root are used
// since there is no llistxattrat before Linux 6.13, and no symlinks are on the way.
func readXattrs(full, prefix string) (map[string]string, marks, error) {
	var m marks
	names, err := listXattrs(full)
	if err != nil || names == "" {
		return nil, m, err
	}
	var out map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
		mark, own := strings.CutPrefix(name, prefix)
		if prefix == "" || !own {
			if !layer.KeepXattr(name) {
				continue
			}
			value, err := getXattr(full, name)
			if err != nil {
				return nil, m, err
			}
			if out == nil {
				out = make(map[string]string)
			}
			out[name] = value
			continue
		}
		switch mark {
		case "opaque":
			value, err := getXattr(full, name)
			if err != nil {
				return nil, m, err
			}
			m.opaque = value == "y"
		case "whiteout":
			m.whiteout = true
		case "redirect", "metacopy":
			return nil, m, fmt.Errorf("%s has the attribute %s: the overlay must be mounted with redirect_dir=off,metacopy=off", full, name)
		}
	}
	return out, m, nil
}

func listXattrs(full string) (string, error) {
	var few [256]byte
	n, err := unix.Llistxattr(full, few[:])
	if err == nil {
		return string(few[:n]), nil
	}
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if errors.Is(err, unix.ERANGE) {
		many := make([]byte, 64<<10)
		if n, err = unix.Llistxattr(full, many); err == nil {
			return string(many[:n]), nil
		}
	}
	return "", &fs.PathError{Op: "listxattr", Path: full, Err: err}
}

func getXattr(full, name string) (string, error) {
	var few [256]byte
	n, err := unix.Lgetxattr(full, name, few[:])
	if err == nil {
		return string(few[:n]), nil
	}
	if errors.Is(err, unix.ERANGE) {
		many := make([]byte, 64<<10)
		if n, err = unix.Lgetxattr(full, name, many); err == nil {
			return string(many[:n]), nil
		}
	}
	return "", &fs.PathError{Op: "getxattr " + name, Path: full, Err: err}
}
