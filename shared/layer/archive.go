package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// ErrWindow is in the chain of errors about compressed streams that want more
// memory to be read than any sane one does: it may well be the right format, and
// must not pass for something else.
var ErrWindow = errors.New("it wants a window of more than 128 MiB to be decompressed")

// DecompressArchive is Decompress for archives of users, which may be
// compressed by bzip2 and xz, too. Windows of more than 128 MiB are ErrWindow,
// at the latest when they are read from.
func DecompressArchive(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(64)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(br)), nil
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		if xzWindow(head) > maxWindow {
			return nil, fmt.Errorf("read xz header: %w", ErrWindow)
		}
		z, err := xz.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read xz header: %w", err)
		}
		return io.NopCloser(z), nil
	}
	z, err := Decompress(br)
	if err != nil {
		return nil, windowed(err)
	}
	return &windowReader{z}, nil
}

// windowReader says ErrWindow where zstd's reader finds that out.
type windowReader struct{ io.ReadCloser }

func (r *windowReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, windowed(err)
}

func windowed(err error) error {
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return fmt.Errorf("%w: %w", ErrWindow, err)
	}
	return err
}

// xzWindow reads the dictionary size of the first block (The .xz File Format,
// version 1.2.1, 3.1 and 5.3.1); 0 if it is not there to be read.
func xzWindow(head []byte) int64 {
	const streamHeader, lzma2 = 12, 0x21
	if len(head) < streamHeader+2 {
		return 0
	}
	flags, rest := head[streamHeader+1], head[streamHeader+2:]
	for _, size := range []byte{0x40, 0x80} {
		if flags&size == 0 {
			continue
		}
		i := bytes.IndexFunc(rest, func(r rune) bool { return r < 0x80 })
		if i < 0 {
			return 0
		}
		rest = rest[i+1:]
	}
	if len(rest) < 3 || rest[0] != lzma2 {
		return 0
	}
	n, err := lzma.DecodeDictCap(rest[2])
	if err != nil {
		return 0
	}
	return n
}

// checkArchive refuses what has no place in an archive that is no layer: it is
// read by a builder, which makes no devices of strangers.
func checkArchive(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeChar, tar.TypeBlock:
		return malformed(h.Name, "a device")
	case tar.TypeFifo:
		return malformed(h.Name, "a fifo")
	}
	return nil
}
