package layer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow is what zstd's specification recommends decoders to support, and
// more than any sane encoder asks for.
const maxWindow = 128 << 20

// Decompress reads a gzip or zstd stream, known by its first bytes, and passes
// all else through. Closing it does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip header: %w", err)
		}
		return z, nil
	case isZstd(head):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("read zstd header: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

// isZstd knows frames and skippable frames, RFC 8878 section 3.1.
func isZstd(b []byte) bool {
	return bytes.Equal(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(b) == 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:], []byte{0x2a, 0x4d, 0x18})
}

// source is a blob on its way to a tar reader: it is decompressed in one
// goroutine and hashed in another, while a third reads tar.
type source struct {
	tar    *tap
	relay  *relay
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	digest v1.Hash
	err    error // of hashing
}

func newSource(ctx context.Context, r io.Reader, limit int64) *source {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &source{relay: newRelay(ctx, 2), cancel: cancel}
	s.relay.max = limit
	s.tar = s.relay.taps[0]
	s.wg.Go(func() { _ = s.relay.close(s.pump(r)) })
	s.wg.Go(func() { s.digest, s.err = s.relay.taps[1].digest() })
	return s
}

// pump reads r to its end, where a verifying reader has its say: a compressed
// stream may have one more member.
func (s *source) pump(r io.Reader) error {
	z, err := Decompress(r)
	if err != nil {
		return blame(r, err)
	}
	defer z.Close()
	if _, err := s.relay.ReadFrom(z); err != nil {
		return blame(r, err)
	}
	return nil
}

// blame prefers the complaint of a verifying reader to that of the decompressor
// that choked on the wrong bytes.
func blame(r io.Reader, err error) error {
	if _, isLimit := err.(*LimitError); isLimit {
		return err
	}
	if _, cause := io.Copy(io.Discard, r); cause != nil {
		return cause
	}
	return fmt.Errorf("decompress: %w", err)
}

// finish reads what comes after the end of the archive, which counts for the diff ID.
func (s *source) finish() (v1.Hash, int64, error) {
	err := s.tar.each(io.Discard)
	if err != nil {
		s.cancel(err)
	}
	s.wg.Wait()
	s.cancel(nil)
	if err == nil {
		err = s.err
	}
	return s.digest, s.relay.n, err
}

// abort ends the goroutines of a stream that nobody wants any more. What is no
// sensible tar may be the wrong bytes: then a verifying reader has the better
// error, at its end.
func (s *source) abort(err error) error {
	if errors.Is(err, ErrMalformed) {
		if _, _, cause := s.finish(); cause != nil {
			return cause
		}
		return err
	}
	s.cancel(err)
	s.tar.drop()
	s.wg.Wait()
	return err
}
