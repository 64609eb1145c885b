package snapshot

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"golang.org/x/sys/unix"
)

// key is what the kernel says about a file that can't stay the same when the
// file changes: every change moves ctime, and nobody can set it back. The number
// of links is left out, because overlayfs changes it behind one's back, and the
// time of modification, because anybody can set it.
type key struct {
	ino   uint64
	ctime int64
	size  int64 // the device number of a device
	mode  uint32
	uid   uint32
	gid   uint32
	more  uint64 // what Options.Beyond says
}

// Index is what a directory looked like. About 100 bytes for each file.
type Index struct {
	Options

	top  *dir[key]
	seed maphash.Seed
}

// Options say how a plain directory is looked at. Their functions are called
// from several goroutines at once.
type Options struct {
	// Ignore, where set, names paths that are not looked at.
	Ignore func(path string) bool
	// Adjust, where set, corrects what Changes finds.
	Adjust Adjust
	// Beyond, where set, is a number that changes with what Adjust says of a
	// file, since the disk does not. The file's path is not filled in.
	Beyond func(f File) uint64
	// Latest, where set, is the latest time that a file of a layer gets when it is
	// packed.
	Latest *time.Time
}

// Take looks at a plain directory in which nothing runs. What is mounted below
// the directory does not belong to it.
//
// It returns once the clock of the file system has moved on, so that whatever
// happens next has another time than all that was seen.
func Take(ctx context.Context, root string, o Options) (*Index, error) {
	x := &Index{Options: o, seed: maphash.MakeSeed()}
	if err := x.look(ctx, root); err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	return x, nil
}

func (x *Index) look(ctx context.Context, root string) (err error) {
	see := x.see
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: root, Err: err}
	}
	if fs.Type == unix.TMPFS_MAGIC {
		// Writes through a mapping do not move ctime there.
		see = x.seeContent
	}
	w := walker[key]{root: root, mask: unix.STATX_BASIC_STATS, ignore: x.Ignore, visit: see}
	if x.Beyond != nil {
		w.mask |= unix.STATX_BTIME
	}
	if x.top, err = w.walk(ctx); err != nil {
		return err
	}
	return nextTick(ctx)
}

func (x *Index) keyOf(st *unix.Statx_t) key {
	k := key{
		ino: st.Ino, ctime: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec), size: int64(st.Size),
		mode: uint32(st.Mode), uid: st.Uid, gid: st.Gid,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		k.size = int64(unix.Mkdev(st.Rdev_major, st.Rdev_minor))
	case unix.S_IFDIR:
		k.size = 0
	}
	if x.Beyond != nil {
		k.more = x.Beyond(fileOf(st))
	}
	return k
}

func (x *Index) see(_ *spot, st *unix.Statx_t) (key, bool, error) { return x.keyOf(st), true, nil }

// seeContent mixes a hash of the content into the time.
func (x *Index) seeContent(at *spot, st *unix.Statx_t) (key, bool, error) {
	k := x.keyOf(st)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return k, true, nil
	}
	fd, err := openat(at.fd, string(at.name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return k, false, &os.PathError{Op: "open", Path: at.root + "/" + at.full(), Err: err}
	}
	f := os.NewFile(uintptr(fd), at.full())
	defer f.Close()
	var h maphash.Hash
	h.SetSeed(x.seed)
	if _, err := io.Copy(&h, f); err != nil {
		return k, false, err
	}
	k.ctime ^= int64(h.Sum64())
	return k, true, nil
}

// nextTick waits until the kernel would give a change another time than now.
// Before Linux 6.13 that takes up to 10 ms.
func nextTick(ctx context.Context) error {
	start, err := coarseTime()
	if err != nil {
		return err
	}
	for {
		now, err := coarseTime()
		if err != nil || now != start {
			return err
		}
		select {
		case <-time.After(500 * time.Microsecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func coarseTime() (unix.Timespec, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts); err != nil {
		return ts, fmt.Errorf("read the coarse clock: %w", err)
	}
	return ts, nil
}

// Changes looks at the directory again, after the processes that wrote there
// are gone, and returns what changed since x was taken and is not as in lower,
// by the rules of Upper, together with what the directory looks like now. The
// contents of the table are the files there: capture them before they change.
func (x *Index) Changes(ctx context.Context, root string, lower Lower) (*layer.Table, *Index, error) {
	now := &Index{Options: x.Options, seed: x.seed}
	if err := now.look(ctx, root); err != nil {
		return nil, nil, fmt.Errorf("look for changes: %w", err)
	}
	s := &scan{root: root, adjust: x.Adjust}
	top, err := describeRoot(root, "", x.Adjust)
	if err != nil {
		return nil, nil, fmt.Errorf("look for changes: %w", err)
	}
	s.dir(top, x.top, now.top)
	if err := s.describeAll(ctx); err != nil {
		return nil, nil, fmt.Errorf("look for changes: %w", err)
	}
	t, err := reduce(ctx, top, lower, x.Latest)
	if err != nil {
		return nil, nil, fmt.Errorf("look for changes: %w", err)
	}
	return t, now, nil
}
