package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// FileContent is a Content that is a stretch of a file. Those who copy it may
// let the kernel do so.
type FileContent interface {
	Content
	// File returns the file, the offset and the number of bytes. The caller
	// closes the file.
	File() (f *os.File, off, n int64, err error)
}

// Bytes is a Content in memory.
type Bytes string

// Open reads b.
func (b Bytes) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(b))), nil }

// File is a Content that is a whole file. No symlink in the place of the file
// itself is followed.
type File struct {
	Dir  string // a directory that nobody moves
	Path string // of the file, relative to Dir
}

// Open opens the file for reading.
func (c *File) Open() (io.ReadCloser, error) {
	fd, err := c.open()
	if err != nil {
		return nil, err
	}
	return &fdReader{fd: fd}, nil
}

// File opens the file for copying.
func (c *File) File() (*os.File, int64, int64, error) {
	fd, err := c.open()
	if err != nil {
		return nil, 0, 0, err
	}
	f := os.NewFile(uintptr(fd), c.Path)
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, 0, err
	}
	return f, 0, fi.Size(), nil
}

// open does not use the os package, which would offer each file to epoll and
// have it refused: one system call too many for files of some kilobytes.
func (c *File) open() (int, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := openat(unix.AT_FDCWD, c.Dir+"/"+c.Path, flags, 0)
	if err == unix.ENAMETOOLONG {
		fd, err = openLong(c.Dir, c.Path, flags)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: c.Dir + "/" + c.Path, Err: err}
	}
	return fd, nil
}

// openLong opens a path that is longer than PATH_MAX piece by piece.
func openLong(dir, path string, flags int) (int, error) {
	const most = unix.PathMax - 1
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for err == nil && len(path) > most {
		cut := strings.LastIndexByte(path[:most], '/')
		if cut < 0 {
			break
		}
		var next int
		next, err = openat(fd, path[:cut], unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		fd, path = next, path[cut+1:]
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return openat(fd, path, flags, 0)
}

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// fdReader reads a regular file, without the poller.
type fdReader struct{ fd int }

func (r *fdReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (r *fdReader) Close() error { return unix.Close(r.fd) }

// section is a Content in a spool file.
type section struct {
	f      *os.File
	off, n int64
}

func (s *section) Open() (io.ReadCloser, error) { return Stretch(s.f, s.off, s.n), nil }

// Stretch reads a part of a file that stays open, also at any place of it.
func Stretch(f io.ReaderAt, off, n int64) io.ReadCloser {
	return stretch{io.NewSectionReader(f, off, n)}
}

type stretch struct{ *io.SectionReader }

// Close does nothing: the file is somebody else's.
func (stretch) Close() error { return nil }

func (s *section) File() (*os.File, int64, int64, error) {
	fd, err := unix.FcntlInt(s.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("duplicate descriptor of %s: %w", s.f.Name(), err)
	}
	return os.NewFile(uintptr(fd), s.f.Name()), s.off, s.n, nil
}

// absent is the content of files of which only the table was read.
type absent struct{}

var errAbsent = errors.New("only the table of this layer was read, not its contents")

func (absent) Open() (io.ReadCloser, error) { return nil, errAbsent }
