package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/sys/unix"
)

// Fingerprint is what a directory tree was when it was looked at. As long as it is
// the same, nobody has changed anything in it: the kernel moves the time of change
// (ctime) of whatever is touched, and nobody can set it.
type Fingerprint struct {
	// Content is of what files are: inodes, sizes, times of change.
	Content [sha256.Size]byte
	// Owners is of that and who may do what, as it is seen from here: another user
	// namespace sees other owners.
	Owners [sha256.Size]byte
	// Files is how many there are.
	Files int
}

// Fingerprints looks at every file below root, by several goroutines. Nothing may be
// changing it. As Take does, it returns once the clock has moved on.
func Fingerprints(ctx context.Context, root string) (Fingerprint, error) {
	x := new(Index)
	w := walker[key]{root: root, mask: unix.STATX_BASIC_STATS, visit: x.see}
	top, err := w.walk(ctx)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("look at %s: %w", root, err)
	}
	f := &fingerprinter{content: sha256.New(), owners: sha256.New()}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, root, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return Fingerprint{}, fmt.Errorf("look at %s: %w", root, err)
	}
	f.add("", x.keyOf(&st))
	f.dir(top)
	f.flush()
	out := Fingerprint{Files: f.n}
	f.content.Sum(out.Content[:0])
	f.owners.Sum(out.Owners[:0])
	return out, nextTick(ctx)
}

type fingerprinter struct {
	content, owners hash.Hash
	c, o            []byte
	n               int
}

func (f *fingerprinter) dir(d *dir[key]) {
	for i := range d.entries {
		e := &d.entries[i]
		f.add(e.name, e.value)
		if e.dir != nil {
			f.dir(e.dir)
		}
	}
	f.c = append(f.c, 0)
}

func (f *fingerprinter) add(name string, k key) {
	f.n++
	f.c = binary.AppendUvarint(f.c, uint64(len(name)))
	f.c = append(f.c, name...)
	f.c = binary.LittleEndian.AppendUint64(f.c, k.ino)
	f.c = binary.LittleEndian.AppendUint64(f.c, uint64(k.ctime)) //nolint:gosec // bits
	f.c = binary.LittleEndian.AppendUint64(f.c, uint64(k.size))  //nolint:gosec // bits
	f.o = binary.LittleEndian.AppendUint32(f.o, k.mode)
	f.o = binary.LittleEndian.AppendUint32(f.o, k.uid)
	f.o = binary.LittleEndian.AppendUint32(f.o, k.gid)
	if len(f.c) > 32<<10 {
		f.flush()
	}
}

func (f *fingerprinter) flush() {
	f.content.Write(f.c)
	f.owners.Write(f.c)
	f.owners.Write(f.o)
	f.c, f.o = f.c[:0], f.o[:0]
}
