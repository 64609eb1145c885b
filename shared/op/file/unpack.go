package file

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// unpacker lays an archive's entries out below one directory. That directory is
// the root for everything in the archive: names and links that lead out of it,
// by ".." or through a symlink, lead back to it, as after chroot(2).
type unpacker struct {
	*step
	root  *tree.Dir
	dirs  map[string]*tree.Dir // by the path that names them in the archive
	ours  map[*layer.Inode]bool
	left  *budget
	spool spool
}

// unpack unpacks the source into dest if it is an archive.
func (s *step) unpack(ctx context.Context, match, dest string, t *time.Time) (done bool, err error) {
	src, err := s.src.Stat(path.Join("/", match))
	if err != nil || src.Kind != layer.Regular {
		return false, nil //nolint:nilerr // the copy that follows says what is wrong
	}
	a, err := openArchive(src.Content)
	if err != nil {
		return false, fmt.Errorf("read archive: %w", err)
	}
	if a == nil {
		return false, nil
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	at, _, err := s.editor.Resolve(dest, true)
	if err != nil {
		return false, err
	}
	root, err := s.mkdirAll(at, 0o755, t)
	if err != nil {
		return false, err
	}
	u := &unpacker{
		step: s, root: root, dirs: make(map[string]*tree.Dir), ours: make(map[*layer.Inode]bool),
		left: newBudget(s.options.Limits), spool: spool{open: s.options.Spool},
	}
	if err := u.entries(ctx, a); err != nil {
		return false, fmt.Errorf("unpack: %w", err)
	}
	return true, u.spool.flush()
}

func (u *unpacker) entries(ctx context.Context, a *archive) error {
	h := a.first
	for err := error(nil); !errors.Is(err, io.EOF); h, err = a.Next() {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if err = u.left.spend(h); err == nil {
			err = u.entry(h, a)
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
	return nil
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name := path.Clean("/" + h.Name)
	if name == "/" || h.Typeflag == tar.TypeXGlobalHeader {
		return nil // the destination stays as it is
	}
	d, err := u.dir(path.Dir(name), true)
	if err != nil {
		return err
	}
	name = path.Base(name)
	old := d.Child(name)
	if old != nil && !(old.IsDir() && h.Typeflag == tar.TypeDir) {
		if old.IsDir() || old.Kind == layer.Symlink {
			clear(u.dirs) // some may have led through it
		}
		d.Remove(name)
		old = nil
	}
	i, err := u.inode(h, r)
	if err != nil {
		return err
	}
	if err := u.describe(i, h); err != nil {
		return err
	}
	if old != nil {
		i.Xattrs = merge(old.Xattrs, i.Xattrs)
	}
	d.Put(name, i)
	return nil
}

// inode makes the inode of an entry, or finds it when the entry is a hard link.
func (u *unpacker) inode(h *tar.Header, r io.Reader) (*layer.Inode, error) {
	i := &layer.Inode{DevMajor: uint32(h.Devmajor), DevMinor: uint32(h.Devminor)}
	switch h.Typeflag {
	case tar.TypeDir:
		i = &layer.Inode{Kind: layer.Dir}
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		c, err := u.spool.add(r, h.Size)
		if err != nil {
			return nil, err
		}
		i = &layer.Inode{Kind: layer.Regular, Size: h.Size, Content: c}
	case tar.TypeSymlink:
		i = &layer.Inode{Kind: layer.Symlink, Target: h.Linkname}
	case tar.TypeChar:
		i.Kind = layer.Char
	case tar.TypeBlock:
		i.Kind = layer.Block
	case tar.TypeFifo:
		i = &layer.Inode{Kind: layer.Fifo}
	case tar.TypeLink:
		return u.link(h.Linkname)
	default:
		return nil, fmt.Errorf("unknown type %q", h.Typeflag)
	}
	u.ours[i] = true
	return i, nil
}

// link returns the inode at target, made ours so that it can have another name.
func (u *unpacker) link(target string) (*layer.Inode, error) {
	p := path.Clean("/" + target)
	d, err := u.dir(path.Dir(p), false)
	if err != nil {
		return nil, fmt.Errorf("hard link to %q: %w", target, err)
	}
	f := d.Child(path.Base(p))
	if f == nil {
		return nil, fmt.Errorf("hard link to %q: %w", target, fs.ErrNotExist)
	}
	if f.IsDir() {
		return nil, fmt.Errorf("hard link to %q: %w", target, syscall.EISDIR)
	}
	if u.ours[f.Inode] {
		return f.Inode, nil
	}
	i := clone(f.Inode)
	u.ours[i] = true
	d.Put(path.Base(p), i)
	return i, nil
}

// describe gives i the metadata of h. It is one function for all types; a hard
// link's header describes the file it links, too.
func (u *unpacker) describe(i *layer.Inode, h *tar.Header) error {
	i.UID, i.GID = uint32(h.Uid), uint32(h.Gid)
	if u.owner != nil {
		i.UID, i.GID = u.owner.uid, u.owner.gid
	} else if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > math.MaxUint32 || int64(h.Gid) > math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	i.Mode = uint32(h.Mode) & 0o7777
	if i.Kind == layer.Symlink {
		i.Mode = 0o777
	}
	i.ModTime = h.ModTime
	if i.ModTime.Before(time.Unix(0, 0)) {
		i.ModTime = time.Unix(0, 0)
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !layer.KeepXattr(name) {
			continue
		}
		i.Xattrs = merge(i.Xattrs, map[string]string{name: value})
	}
	return nil
}

// dir opens a directory by a path in the archive, all symlinks followed below
// the destination. Missing parts are made when that is asked for: an archive
// may leave them out.
func (u *unpacker) dir(p string, create bool) (*tree.Dir, error) {
	if d, ok := u.dirs[p]; ok {
		return d, nil
	}
	at := []*tree.Dir{u.root}
	todo := strings.Split(p, "/")
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		cur := at[len(at)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			at = at[:max(1, len(at)-1)]
			continue
		}
		f := cur.Child(name)
		if f == nil && create {
			f = u.implied(cur, name)
		}
		if f == nil {
			return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
		}
		if f.Kind == layer.Symlink {
			if links++; links > 255 {
				return nil, &fs.PathError{Op: "open", Path: p, Err: syscall.ELOOP}
			}
			if strings.HasPrefix(f.Target, "/") {
				at = at[:1]
			}
			todo = append(strings.Split(f.Target, "/"), todo...)
			continue
		}
		d, err := cur.Open(name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: p, Err: err}
		}
		at = append(at, d)
	}
	u.dirs[p] = at[len(at)-1]
	return at[len(at)-1], nil
}

// implied makes a directory that the archive has no entry for: root's, 0755,
// whatever owner was asked for, as moby's archive package has it.
func (u *unpacker) implied(d *tree.Dir, name string) *tree.File {
	d.Put(name, &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: u.now})
	return d.Child(name)
}
