package tree

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/snapshot"
)

// UseRecord says that the disk cannot hold owners, devices and capabilities:
// what it cannot say of the files of plain directories stands in r.
func (w *Workspace) UseRecord(r *fakeroot.Record) { w.record = r }

// Applied says how a table is written into a plain directory.
func (w *Workspace) Applied() layer.CheckoutOptions {
	o := layer.CheckoutOptions{Form: layer.Applied}
	if w.record != nil {
		o.Record = w.remember
	}
	return o
}

// Snapshot says how a plain directory is looked at.
func (w *Workspace) Snapshot(ignore func(string) bool) snapshot.Options {
	o := snapshot.Options{Ignore: ignore, Latest: w.pack.Epoch}
	if w.record != nil {
		o.Adjust, o.Beyond = w.adjuster(), w.beyond
	}
	return o
}

// remember records what the disk does not say of a file.
func (w *Workspace) remember(st *unix.Statx_t, in *layer.Inode) {
	a := fakeroot.Attr{UID: in.UID, GID: in.GID, Mode: in.Mode}
	kind := uint32(st.Mode) & unix.S_IFMT
	switch in.Kind {
	case layer.Char:
		a.Type = unix.S_IFCHR
	case layer.Block:
		a.Type = unix.S_IFBLK
	}
	if a.Type != 0 {
		a.Rdev = unix.Mkdev(in.DevMajor, in.DevMinor)
	}
	foreign := st.Uid != uint32(os.Geteuid()) && in.UID == 0 //nolint:gosec // an id fits
	a.HasMode = in.Kind != layer.Symlink && (foreign || uint32(st.Mode)&0o7777 != in.Mode || fakeroot.NeedsMode(kind|in.Mode))
	for name, value := range in.Xattrs {
		if layer.Recorded(name) {
			if a.Xattrs == nil {
				a.Xattrs = make(map[string]string)
			}
			a.Xattrs[name] = value
		}
	}
	w.record.Put(fakeroot.IDOf(st), a)
}

// Give gives a file that is no symlink an owner and a mode, or records that it
// has them.
func (w *Workspace) Give(path string, uid, gid, mode uint32) error {
	if w.record == nil {
		if err := os.Lchown(path, int(uid), int(gid)); err != nil {
			return err
		}
		return unix.Chmod(path, mode)
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return &os.PathError{Op: "statx", Path: path, Err: err}
	}
	a := fakeroot.Attr{UID: uid, GID: gid, Mode: mode, HasMode: true}
	w.record.Put(fakeroot.IDOf(&st), a)
	return unix.Chmod(path, fakeroot.DiskMode(uint32(st.Mode)&unix.S_IFMT|mode)&0o7777)
}

// SaveRecord writes what is recorded of the files in dir into a file, for a later
// build. LoadRecord reads it; that there is none is no error.
func (w *Workspace) SaveRecord(dir, file string) error {
	if w.record == nil {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".owners-*")
	if err != nil {
		return err
	}
	err = errors.Join(w.record.SaveTree(dir, tmp), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// LoadRecord reads what SaveRecord wrote.
func (w *Workspace) LoadRecord(dir, file string) error {
	if w.record == nil {
		return nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(w.record.LoadTree(dir, f), f.Close())
}

// adjuster turns what the disk says into what is so.
func (w *Workspace) adjuster() snapshot.Adjust {
	uid := uint32(os.Geteuid()) //nolint:gosec // an id fits
	groups, _ := os.Getgroups()
	groups = append(groups, os.Getegid())
	return func(f snapshot.File, in *layer.Inode) {
		a, ok := w.record.Get(idOf(f))
		if !ok {
			if in.UID == uid {
				in.UID = 0
			}
			if slices.Contains(groups, int(in.GID)) {
				in.GID = 0
			}
			return
		}
		in.UID, in.GID = a.UID, a.GID
		if a.HasMode {
			in.Mode = a.Mode
		}
		switch a.Type {
		case unix.S_IFCHR:
			in.Kind = layer.Char
		case unix.S_IFBLK:
			in.Kind = layer.Block
		}
		if a.Type != 0 {
			in.DevMajor, in.DevMinor = unix.Major(a.Rdev), unix.Minor(a.Rdev)
		}
		if len(a.Xattrs) > 0 {
			all := maps.Clone(in.Xattrs)
			if all == nil {
				all = make(map[string]string)
			}
			for name, value := range a.Xattrs {
				if layer.KeepXattr(name) {
					all[name] = value
				}
			}
			in.Xattrs = all
		}
	}
}

func idOf(f snapshot.File) fakeroot.ID {
	id := fakeroot.ID{Dev: f.Dev, Ino: f.Ino}
	if f.Born {
		id.Birth = f.Birth.UnixNano()
	}
	return id
}

// beyond is a number that changes with what is recorded of a file, 0 for nothing.
func (w *Workspace) beyond(f snapshot.File) uint64 {
	a, ok := w.record.Get(idOf(f))
	if !ok {
		return 0
	}
	h := fnv.New64a()
	var b [29]byte
	binary.LittleEndian.PutUint32(b[0:], a.UID)
	binary.LittleEndian.PutUint32(b[4:], a.GID)
	binary.LittleEndian.PutUint32(b[8:], a.Mode)
	binary.LittleEndian.PutUint32(b[12:], a.Type)
	binary.LittleEndian.PutUint64(b[16:], a.Rdev)
	if a.HasMode {
		b[24] = 1
	}
	binary.LittleEndian.PutUint32(b[25:], uint32(len(a.Xattrs))) //nolint:gosec // few
	_, _ = h.Write(b[:])
	for _, name := range slices.Sorted(maps.Keys(a.Xattrs)) {
		_, _ = h.Write([]byte(name + "\x00" + a.Xattrs[name] + "\x00"))
	}
	return h.Sum64() | 1
}
