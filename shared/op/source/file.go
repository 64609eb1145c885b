package source

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// localFile is the content of a file below a root, as it was when the
// directory was read. Opening or reading it fails when it is not the same any
// more: what is cached under the digest of a first reading must be what a
// second one gives.
type localFile struct {
	root  *root
	path  string
	size  int64
	mtime time.Time
}

// Open implements layer.Content.
func (c *localFile) Open() (io.ReadCloser, error) {
	// O_NONBLOCK: what has become a fifo must not hold the build up.
	fd, err := c.root.open(c.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: c.path, Err: replaced(err)}
	}
	if err := c.check(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		_ = unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: c.path, Err: err}
	}
	return &steadyReader{f: os.NewFile(uintptr(fd), c.path), want: c}, nil
}

func (c *localFile) check(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: c.path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("read %s: became another kind of file since it was listed", c.path)
	case st.Size != c.size || !modTime(&st).Equal(c.mtime):
		return fmt.Errorf("read %s: changed while the build was reading it", c.path)
	}
	return nil
}

// steadyReader looks at the file once more at its end.
type steadyReader struct {
	f    *os.File
	want *localFile
}

func (r *steadyReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	if err == io.EOF {
		if cerr := r.want.check(int(r.f.Fd())); cerr != nil {
			return n, cerr
		}
	}
	return n, err
}

// ReadAt reads at any place, without the look.
func (r *steadyReader) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(p, off) }

func (r *steadyReader) Close() error { return r.f.Close() }

func modTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

// spooled is the content of a file of ours that nobody else writes to.
type spooled struct{ path string }

// Open implements layer.Content.
func (c spooled) Open() (io.ReadCloser, error) { return os.Open(c.path) }

// section is a part of a file of ours, which stays open for as long as a
// table needs it.
type section struct {
	f         *os.File
	off, size int64
}

// Open implements layer.Content.
func (c *section) Open() (io.ReadCloser, error) {
	return layer.Stretch(c.f, c.off, c.size), nil
}

// spool puts contents one behind the other into one file on disk.
type spool struct {
	f   *os.File
	out *bufio.Writer
	off int64
}

func newSpool(name string) (*spool, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &spool{f: f, out: bufio.NewWriterSize(f, 256<<10)}, nil
}

// add appends what r has. It can be read when out has been flushed.
func (s *spool) add(r io.Reader) (layer.Content, error) {
	n, err := io.Copy(s.out, r)
	from := s.off
	s.off += n
	if n == 0 || err != nil {
		return nil, err
	}
	return &section{f: s.f, off: from, size: n}, nil
}

// topDir is the root directory of what a source yields: root's, 0755, whoever
// owns the directory that it was read from (as BuildKit has it).
func topDir(mtime time.Time) *layer.Inode {
	return &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: mtime}
}
