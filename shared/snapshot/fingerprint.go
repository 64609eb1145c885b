package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Fingerprint is what a directory tree was when it was looked at. As long as it is
// the same, nobody has changed anything in it: the kernel moves the time of change
// (ctime) of whatever is touched, and nobody can set it.
type Fingerprint struct {
	// Content is of what files are: inodes, sizes, times of change.
	Content [sha256.Size]byte
	// Owners is of who may do what, as it is seen from here: another user namespace
	// sees other owners.
	Owners [sha256.Size]byte
	// Files is how many there are.
	Files int
}

// Fingerprints looks at every file below root, by several goroutines. Nothing may be
// changing it.
func Fingerprints(ctx context.Context, root string) (Fingerprint, error) {
	f := fingerprinter{dirs: make(map[*dir[key]]*sums)}
	w := walker[key]{root: root, mask: unix.STATX_BASIC_STATS, visit: f.index.see, fold: f.fold}
	top, err := w.walk(ctx)
	if err != nil {
		return Fingerprint{}, fmt.Errorf("look at %s: %w", root, err)
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, root, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return Fingerprint{}, fmt.Errorf("look at %s: %w", root, err)
	}
	var all print
	all.add("", f.index.keyOf(&st))
	f.dir(&all, top)
	return Fingerprint{Content: sha256.Sum256(all.content), Owners: sha256.Sum256(all.owners), Files: f.files + 1}, nil
}

// Settle waits until the clock of file systems has moved on: whatever happens next
// has another time than all that happened before.
func Settle(ctx context.Context) error { return nextTick(ctx) }

type fingerprinter struct {
	index Index

	mu    sync.Mutex
	dirs  map[*dir[key]]*sums
	files int
}

// sums are those of one directory, without what is below its directories.
type sums struct{ content, owners [sha256.Size]byte }

// print is what a fingerprint is the hash of.
type print struct{ content, owners []byte }

func (p *print) add(name string, k key) {
	p.content = binary.AppendUvarint(p.content, uint64(len(name)))
	p.content = append(p.content, name...)
	p.content = binary.LittleEndian.AppendUint64(p.content, k.ino)
	p.content = binary.LittleEndian.AppendUint64(p.content, uint64(k.ctime)) //nolint:gosec // bits
	p.content = binary.LittleEndian.AppendUint64(p.content, uint64(k.size))  //nolint:gosec // bits
	p.owners = binary.LittleEndian.AppendUint32(p.owners, k.mode)
	p.owners = binary.LittleEndian.AppendUint32(p.owners, k.uid)
	p.owners = binary.LittleEndian.AppendUint32(p.owners, k.gid)
}

func (f *fingerprinter) fold(d *dir[key], all []entry[key]) {
	var p print
	p.content, p.owners = make([]byte, 0, 48*len(all)), make([]byte, 0, 12*len(all))
	for i := range all {
		p.add(all[i].name, all[i].value)
	}
	s := &sums{sha256.Sum256(p.content), sha256.Sum256(p.owners)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirs[d] = s
	f.files += len(all)
}

// dir adds a directory and all below it. Its sums say the names of those.
func (f *fingerprinter) dir(all *print, d *dir[key]) {
	s := f.dirs[d]
	all.content = append(all.content, s.content[:]...)
	all.owners = append(all.owners, s.owners[:]...)
	for i := range d.entries {
		f.dir(all, d.entries[i].dir)
	}
}
