package layer

import (
	"archive/tar"
	"encoding/base64"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// The names by which a layer speaks of what it removes (OCI image
// specification, "Whiteouts"). Other names with the longer prefix are AUFS's own.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

type entryKind uint8

const (
	entrySkip entryKind = iota
	entryInode
	entryLink
	entryWhiteout
	entryOpaque
)

// entry is what a tar header says, once its names are known to be harmless.
type entry struct {
	kind   entryKind
	dir    string // of the name: clean, relative, "" for the root
	base   string // "" for the root itself
	link   string // target of a hard link, clean and relative
	sparse bool
}

func malformed(name, format string, args ...any) error {
	return fmt.Errorf("%w: entry %q: %s", ErrMalformed, name, fmt.Sprintf(format, args...))
}

// cleanName makes a name relative to the root, and refuses what would leave it.
// An absolute name means the same below the root, as for GNU tar.
func cleanName(name string) (string, bool) {
	if tidy(name) {
		return strings.TrimSuffix(name, "/"), true
	}
	name = path.Clean(strings.TrimLeft(name, "/"))
	if name == "." {
		return "", true
	}
	return name, name != ".." && !strings.HasPrefix(name, "../")
}

// tidy tells whether a name needs no cleaning, as is the rule.
func tidy(name string) bool {
	return name != "" && name[0] != '/' && name[0] != '.' &&
		!strings.Contains(name, "//") && !strings.Contains(name, "/.")
}

func splitName(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// parse reads a header into e and, where the entry has one, its inode into in.
// In a layer some names are whiteouts.
func parse(h *tar.Header, e *entry, in *Inode, isLayer bool) error {
	*e = entry{}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, ok := cleanName(h.Name)
	if !ok {
		return malformed(h.Name, "leads out of the root")
	}
	e.dir, e.base = splitName(name)
	if isLayer {
		if done, err := e.parseWhiteout(h.Name); done || err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeLink {
		e.kind = entryLink
		if e.link, ok = cleanName(h.Linkname); !ok || e.link == "" || e.base == "" {
			return malformed(h.Name, "hard link to %q", h.Linkname)
		}
		return nil
	}
	e.kind = entryInode
	e.sparse = h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != ""
	if err := parseInode(h, in); err != nil {
		return err
	}
	if e.base == "" && in.Kind != Dir {
		return malformed(h.Name, "the root can only be a directory")
	}
	if in.whiteout() {
		// overlayfs would take the device for a whiteout; so do we, on purpose.
		e.kind = entryWhiteout
	}
	return nil
}

// parseWhiteout knows the entries that are no files, and skips those of AUFS.
func (e *entry) parseWhiteout(name string) (done bool, err error) {
	if !strings.Contains(name, whiteoutPrefix) {
		return false, nil
	}
	for dir := range strings.SplitSeq(e.dir, "/") {
		if strings.HasPrefix(dir, whiteoutMeta) {
			return true, nil
		}
		if strings.HasPrefix(dir, whiteoutPrefix) {
			return true, malformed(name, "below a whiteout")
		}
	}
	switch {
	case !strings.HasPrefix(e.base, whiteoutPrefix):
		return false, nil
	case e.base == whiteoutOpaque:
		e.kind = entryOpaque
	case strings.HasPrefix(e.base, whiteoutMeta):
	default:
		e.kind, e.base = entryWhiteout, e.base[len(whiteoutPrefix):]
		if e.base == "" || e.base == "." || e.base == ".." {
			return true, malformed(name, "whiteout of nothing")
		}
	}
	return true, nil
}

func parseInode(h *tar.Header, in *Inode) error {
	// -1 would mean "leave it" to chown, and what does not fit would wrap to root.
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return malformed(h.Name, "owner %d:%d", h.Uid, h.Gid)
	}
	*in = Inode{
		Mode: uint32(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid), ModTime: h.ModTime,
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, 0:
		in.Kind, in.Size = Regular, h.Size
		if h.Size < 0 {
			return malformed(h.Name, "size %d", h.Size)
		}
	case tar.TypeDir:
		in.Kind = Dir
	case tar.TypeSymlink:
		in.Kind, in.Target = Symlink, h.Linkname
		if in.Target == "" || len(in.Target) > 4095 {
			return malformed(h.Name, "symlink target of %d bytes", len(in.Target))
		}
	case tar.TypeChar, tar.TypeBlock:
		in.Kind = Char
		if h.Typeflag == tar.TypeBlock {
			in.Kind = Block
		}
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return malformed(h.Name, "device %d:%d", h.Devmajor, h.Devminor)
		}
		in.DevMajor, in.DevMinor = uint32(h.Devmajor), uint32(h.Devminor)
	case tar.TypeFifo:
		in.Kind = Fifo
	default:
		return malformed(h.Name, "type %q", h.Typeflag)
	}
	return parseXattrs(h, in)
}

func parseXattrs(h *tar.Header, in *Inode) error {
	const libarchive = "LIBARCHIVE.xattr."
	found := map[string]string(nil)
	set := func(name, value string) error {
		if !KeepXattr(name) {
			return nil
		}
		if len(value) > maxXattr {
			return malformed(h.Name, "extended attribute %s of %d bytes", name, len(value))
		}
		if found == nil {
			found = make(map[string]string)
		}
		found[name] = value
		return nil
	}
	for k, v := range h.PAXRecords {
		if !strings.HasPrefix(k, libarchive) {
			continue
		}
		name, err := url.PathUnescape(k[len(libarchive):])
		if err != nil {
			return malformed(h.Name, "%s: %v", k, err)
		}
		// libarchive leaves the padding out.
		value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "="))
		if err != nil {
			return malformed(h.Name, "%s: %v", k, err)
		}
		if err := set(name, string(value)); err != nil {
			return err
		}
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if strings.Contains(name, "%3D") {
				name = gnuUnescape.Replace(name)
			}
			if err := set(name, v); err != nil {
				return err
			}
		}
	}
	in.Xattrs = found
	return nil
}

// weight is the memory that an entry's strings keep.
func (in *Inode) weight() int64 {
	n := len(in.Target)
	for k, v := range in.Xattrs {
		n += len(k) + len(v)
	}
	return int64(n)
}

// whiteout tells whether overlayfs would take the file for a whiteout.
func (in *Inode) whiteout() bool { return in.Kind == Char && in.DevMajor == 0 && in.DevMinor == 0 }
