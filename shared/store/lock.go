package store

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Locks (flock(2)) are politeness: whoever has one is fetching a blob, and others
// may wait for it rather than fetch the same bytes. A file system without them,
// or a lock that is never given back, costs a second download and nothing else.

// patience is how long a lock may be held without a byte more in the directory
// before nobody waits for it any longer.
const patience = 20 * time.Second

// flock locks a file; "lock" may be made to fail as on a mount without locks.
func (s *Store) flock(f *os.File, how int) error {
	if err := s.fault("lock", f.Name()); err != nil {
		return err
	}
	for {
		err := unix.Flock(int(f.Fd()), how) //nolint:gosec // a descriptor fits
		if err != unix.EINTR {
			return err
		}
	}
}

// await waits while somebody else is fetching a blob and getting on with it, until
// it is there. The answer gives the lock back, if there was one.
func (s *Store) await(ctx context.Context, d v1.Hash, there func() bool) func() {
	// One of 256 files, which are never removed: a lock on a file that is
	// removed is a lock on nothing.
	f, err := s.lockFile(d.Hex[:2])
	if err != nil {
		return func() {}
	}
	unlock := func() { f.Close() }
	last, size := time.Now(), int64(-1)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		if err := s.flock(f, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
			return unlock
		}
		if n := s.ingesting(d.Hex[:2]); n != size {
			last, size = time.Now(), n
		}
		if ctx.Err() != nil || time.Since(last) > patience || there() {
			return unlock
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// lockFile opens a file to lock, which others can open, too.
func (s *Store) lockFile(name string) (*os.File, error) {
	if err := s.mkdirAll("ingest"); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(filepath.Join("ingest", "lock-"+name)), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, s.fileMode)
	if err == nil {
		_ = f.Chmod(s.fileMode) // the umask's part; it may be another's
	}
	return f, err
}

// ingesting is how much of the blobs of a lock is being written.
func (s *Store) ingesting(prefix string) (n int64) {
	files, _ := filepath.Glob(s.path(filepath.Join("ingest", prefix+"*"))) // what cannot be read has none
	for _, p := range files {
		if fi, err := os.Lstat(p); err == nil {
			n += fi.Size() + 1
		}
	}
	return n
}

// changed is a file's inode and the time of its last change.
func changed(fi fs.FileInfo) (ino uint64, ctime int64) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ino, time.Unix(st.Ctim.Unix()).UnixNano()
}
