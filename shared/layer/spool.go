package layer

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// spool appends contents to a file, small ones together.
type spool struct {
	f   *os.File
	off int64 // where buf goes
	buf []byte
}

const spoolBuffer = 1 << 20

func newSpool(f *os.File) (*spool, error) {
	off, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("look for the end of spool %s: %w", f.Name(), err)
	}
	return &spool{f: f, off: off}, nil
}

// add copies size bytes from r.
func (s *spool) add(r io.Reader, size int64, sparse bool) (Content, error) {
	c := &section{f: s.f, off: s.off + int64(len(s.buf)), n: size}
	if sparse {
		return c, s.addSparse(r, size)
	}
	if s.buf == nil {
		s.buf = make([]byte, 0, spoolBuffer)
	}
	for size > 0 {
		if len(s.buf) == cap(s.buf) {
			if err := s.flush(); err != nil {
				return nil, err
			}
		}
		room := s.buf[len(s.buf):cap(s.buf)]
		room = room[:min(size, int64(len(room)))]
		if _, err := io.ReadFull(r, room); err != nil {
			return nil, short(err)
		}
		s.buf = s.buf[:len(s.buf)+len(room)]
		size -= int64(len(room))
	}
	return c, nil
}

func (s *spool) addSparse(r io.Reader, size int64) error {
	if err := s.flush(); err != nil {
		return err
	}
	start := s.off
	s.off += size
	return sparsely(r, size, make([]byte, 64<<10), func(off int64, b []byte) error {
		return pwriteAll(int(s.f.Fd()), b, start+off)
	}, s.extend)
}

// extend makes the file reach to the end of a hole.
func (s *spool) extend() error {
	if err := s.f.Truncate(s.off); err != nil {
		return fmt.Errorf("extend spool: %w", err)
	}
	return nil
}

func (s *spool) flush() error {
	if _, err := s.f.WriteAt(s.buf, s.off); err != nil {
		return fmt.Errorf("write spool: %w", err)
	}
	s.off += int64(len(s.buf))
	s.buf = s.buf[:0]
	return nil
}

// addContent copies a content, which must have as many bytes as promised.
func (s *spool) addContent(in *Inode) (Content, error) {
	if fc, ok := in.Content.(FileContent); ok && in.Size >= kernelCopy {
		return s.addByKernel(in.Size, fc)
	}
	r, err := in.Content.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c, err := s.add(r, in.Size, false)
	if err != nil {
		return nil, sizeError(in.Size, err)
	}
	return c, ended(r, in.Size)
}

func (s *spool) addByKernel(size int64, fc FileContent) (Content, error) {
	if err := s.flush(); err != nil {
		return nil, err
	}
	c := &section{f: s.f, off: s.off, n: size}
	fd := int(s.f.Fd())
	// copy_file_range and write both go on from the file's own offset here.
	if _, err := unix.Seek(fd, s.off, io.SeekStart); err != nil {
		return nil, err
	}
	s.off += size
	return c, fillByKernel(fd, size, fc, make([]byte, copySize))
}

// Capture copies the contents of a table into a spool, so that they stay what
// they are whatever becomes of the files they were in. The table must not have
// been shown to anybody yet, since its inodes are changed.
func Capture(t *Table, spoolFile *os.File) error {
	s, err := newSpool(spoolFile)
	if err != nil {
		return err
	}
	done := make(map[*Inode]bool)
	err = t.Walk(func(p string, n *Node) error {
		in := n.Inode
		if in == nil || in.Content == nil || done[in] {
			return nil
		}
		done[in] = true
		c, err := s.addContent(in)
		if err != nil {
			return fmt.Errorf("keep content of /%s: %w", p, err)
		}
		in.Content = c
		return nil
	})
	if err != nil {
		return err
	}
	return s.flush()
}
