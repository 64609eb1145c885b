package file

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// spool takes the contents of an archive's files, one after the other, in one file.
type spool struct {
	open func() (*os.File, error)
	file *os.File // nil as long as there was no content
	buf  []byte   // not yet written
	at   int64    // where buf goes
	end  int64    // of the file on disk
}

const (
	spoolBuffer = 256 << 10
	spoolHole   = 64 << 10 // so many zeros in a row are left out
)

// add stores the size bytes that r gives.
func (s *spool) add(r io.Reader, size int64) (layer.Content, error) {
	if size == 0 {
		return nil, nil
	}
	if s.file == nil {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	c := &section{s.file, s.at + int64(len(s.buf)), size}
	for size > 0 {
		n := int(min(size, spoolHole))
		if len(s.buf)+n > cap(s.buf) {
			if err := s.write(); err != nil {
				return nil, err
			}
		}
		chunk := s.buf[len(s.buf) : len(s.buf)+n]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return nil, fmt.Errorf("read content: %w", unexpected(err))
		}
		size -= int64(n)
		s.buf = s.buf[:len(s.buf)+n]
		if n == spoolHole && len(bytes.TrimLeft(chunk, "\x00")) == 0 {
			s.buf = s.buf[:len(s.buf)-n]
			if err := s.write(); err != nil {
				return nil, err
			}
			s.at += int64(n)
		}
	}
	return c, nil
}

func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // as io.ReadFull returns it
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *spool) begin() (err error) {
	open := s.open
	if open == nil {
		open = nameless
	}
	if s.file, err = open(); err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	s.buf = make([]byte, 0, spoolBuffer)
	return nil
}

func (s *spool) write() error {
	n, err := s.file.WriteAt(s.buf, s.at)
	if err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	s.at += int64(n)
	s.buf = s.buf[:0]
	if n > 0 {
		s.end = s.at
	}
	return nil
}

// flush writes what is left, and makes the file reach to the end of a last hole.
func (s *spool) flush() error {
	if s.file == nil {
		return nil
	}
	if err := s.write(); err != nil {
		return err
	}
	if s.end < s.at {
		return s.file.Truncate(s.at)
	}
	return nil
}

// nameless opens a file that is gone as soon as nobody holds it.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "strake-add-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// section is a file's content inside a spool.
type section struct {
	file     *os.File
	at, size int64
}

// Open reads the section.
func (s *section) Open() (io.ReadCloser, error) {
	return layer.Stretch(s.file, s.at, s.size), nil
}

// File offers the section to those who let the kernel copy it.
func (s *section) File() (f *os.File, off, n int64, err error) {
	fd, err := unix.FcntlInt(s.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("duplicate descriptor of %s: %w", s.file.Name(), err)
	}
	return os.NewFile(uintptr(fd), s.file.Name()), s.at, s.size, nil
}
