package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// fill writes exactly size bytes.
func fill(fd int, size int64, body io.Reader, buf []byte) error {
	for size > 0 {
		b := buf[:min(size, int64(len(buf)))]
		if _, err := io.ReadFull(body, b); err != nil {
			return short(err)
		}
		if err := writeAll(fd, b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	return nil
}

// fillSparse writes size bytes too, and leaves holes where there are only zeros.
func fillSparse(fd int, size int64, body io.Reader, buf []byte) error {
	return sparsely(body, size, buf[:64<<10], func(off int64, b []byte) error {
		return pwriteAll(fd, b, off)
	}, func() error { return unix.Ftruncate(fd, size) })
}

// sparsely reads size bytes and hands on the pieces that have something in
// them, and then calls end.
func sparsely(body io.Reader, size int64, buf []byte, data func(off int64, b []byte) error, end func() error) error {
	zero := make([]byte, len(buf))
	for off := int64(0); off < size; {
		b := buf[:min(size-off, int64(len(buf)))]
		if _, err := io.ReadFull(body, b); err != nil {
			return short(err)
		}
		if !bytes.Equal(b, zero[:len(b)]) {
			if err := data(off, b); err != nil {
				return err
			}
		}
		off += int64(len(b))
	}
	return end()
}

func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

func pwriteAll(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if err != nil && err != unix.EINTR {
			return err
		}
		b, off = b[max(n, 0):], off+int64(max(n, 0))
	}
	return nil
}

// copy makes anything but a directory, with the content it has elsewhere.
func (w *writer) copy(f *folder, name string, in *Inode) error {
	if in.Kind != Regular || in.Size == 0 {
		return w.file(f, name, in, nil, false)
	}
	if in.Content == nil {
		return w.fail("write", f, name, errors.New("file has a size but no content"))
	}
	return w.regular(f, name, in, func(fd int) error { return w.fillFrom(fd, in) })
}

func (w *writer) fillFrom(fd int, in *Inode) error {
	if fc, ok := in.Content.(FileContent); ok && in.Size >= kernelCopy {
		return fillByKernel(fd, in.Size, fc, w.buf)
	}
	r, err := in.Content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := fill(fd, in.Size, r, w.buf); err != nil {
		return sizeError(in.Size, err)
	}
	return ended(r, in.Size)
}

func sizeError(size int64, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("content is shorter than %d bytes, as it was when it was listed: %w", size, err)
	}
	return err
}

func longer(size int64) error {
	return fmt.Errorf("content is longer than %d bytes, as it was when it was listed", size)
}

// ended tells whether there is nothing left to read.
func ended(r io.Reader, size int64) error {
	var b [1]byte
	n, err := io.ReadFull(r, b[:])
	if n > 0 {
		return longer(size)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func fillByKernel(fd int, size int64, c FileContent, buf []byte) error {
	src, off, n, err := c.File()
	if err != nil {
		return err
	}
	defer src.Close()
	if n > size {
		return longer(size)
	}
	for done := int64(0); done < size; {
		k, err := copyRange(int(src.Fd()), off+done, fd, int(min(size-done, 1<<30)))
		if err != nil && done == 0 {
			return sizeError(size, fill(fd, size, io.NewSectionReader(src, off, n), buf))
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if k == 0 {
			return sizeError(size, io.ErrUnexpectedEOF)
		}
		done += int64(k)
	}
	return nil
}

// copyRange fails on the first call, if at all, where the file systems or a
// seccomp profile will not have it.
func copyRange(from int, off int64, to, n int) (int, error) {
	for {
		k, err := unix.CopyFileRange(from, &off, to, nil, n, 0)
		if err != unix.EINTR {
			return k, err
		}
	}
}

// remove takes away what is called name in f, with everything below it.
func (w *writer) remove(f *folder, name string) error {
	parent, err := w.open(f)
	if err != nil {
		return err
	}
	if err := removeAt(parent, name); err != nil {
		return w.fail("remove", f, name, err)
	}
	return nil
}

func removeAt(parent int, name string) error {
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	var st unix.Statx_t
	if serr := unix.Statx(parent, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st); serr != nil {
		return serr
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return unix.EBUSY // never empty somebody's volume
	}
	if err := emptyAt(parent, name); err != nil {
		return err
	}
	return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
}

func emptyAt(parent int, name string) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := openat(parent, name, flags, 0)
	if err == unix.EACCES && unix.Fchmodat(parent, name, 0o700, 0) == nil {
		fd, err = openat(parent, name, flags, 0)
	}
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeAt(fd, n); err != nil {
			return err
		}
	}
	return nil
}
