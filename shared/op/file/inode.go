package file

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"reflect"

	"github.com/strake-build/strake/shared/layer"
)

func clone(i *layer.Inode) *layer.Inode {
	c := *i
	return &c
}

// inode makes our copy of a source's inode, with the owner, mode and time that
// the action asks for.
func (c *copier) inode(src *layer.Inode) *layer.Inode {
	i := clone(src)
	if c.owner != nil {
		i.UID, i.GID = c.owner.uid, c.owner.gid
	}
	switch {
	case i.Kind == layer.Symlink: // a symlink's mode cannot be changed
	case c.chmod != nil:
		i.Mode = modeBits(c.chmod.Apply(fileMode(i)))
	case c.Mode != -1:
		i.Mode = uint32(c.Mode) & 0o7777
	}
	if c.Timestamp != nil {
		i.ModTime = *c.Timestamp
	}
	i.Xattrs = allowed(i.Xattrs)
	return i
}

// special are the bits of a mode that package os keeps elsewhere.
var special = [...]struct {
	bit uint32
	fm  fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

func fileMode(i *layer.Inode) fs.FileMode {
	m := fs.FileMode(i.Mode & 0o777)
	for _, s := range special {
		if i.Mode&s.bit != 0 {
			m |= s.fm
		}
	}
	if i.Kind == layer.Dir {
		m |= fs.ModeDir
	}
	return m
}

func modeBits(m fs.FileMode) uint32 {
	b := uint32(m.Perm())
	for _, s := range special {
		if m&s.fm != 0 {
			b |= s.bit
		}
	}
	return b
}

// allowed leaves out the extended attributes that no layer has.
func allowed(x map[string]string) map[string]string {
	for name := range x {
		if !layer.KeepXattr(name) {
			x = maps.Clone(x)
			maps.DeleteFunc(x, func(n, _ string) bool { return !layer.KeepXattr(n) })
			return x
		}
	}
	return x
}

// merge lays the extended attributes top over those in below.
func merge(below, top map[string]string) map[string]string {
	if len(below) == 0 {
		return top
	}
	m := maps.Clone(below)
	maps.Copy(m, top)
	return m
}

// sameMeta compares all but the content. Times count to the second, as in layers.
func sameMeta(a, b *layer.Inode) bool {
	return a.Kind == b.Kind && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Size == b.Size &&
		a.ModTime.Unix() == b.ModTime.Unix() && a.Target == b.Target &&
		a.DevMajor == b.DevMajor && a.DevMinor == b.DevMinor && maps.Equal(a.Xattrs, b.Xattrs)
}

// same tells whether putting b in a's place would change nothing.
func same(a, b *layer.Inode) bool {
	if !sameMeta(a, b) {
		return false
	}
	if a.Kind != layer.Regular || a.Size == 0 || sameHandle(a.Content, b.Content) {
		return true
	}
	return sameBytes(a.Content, b.Content)
}

func sameHandle(a, b layer.Content) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// sameBytes reads both. What cannot be read counts as different: the copy then
// goes its usual way and whoever writes the layer meets the error.
func sameBytes(a, b layer.Content) bool {
	ra, err := a.Open()
	if err != nil {
		return false
	}
	defer ra.Close()
	rb, err := b.Open()
	if err != nil {
		return false
	}
	defer rb.Close()
	bufA, bufB := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, errA := io.ReadFull(ra, bufA)
		m, errB := io.ReadFull(rb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false
		}
		if errA != nil || errB != nil {
			return ended(errA) && ended(errB)
		}
	}
}

func ended(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF } //nolint:errorlint // as io.ReadFull returns them
