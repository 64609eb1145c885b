package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobReader reads a blob and compares it with its descriptor on the way. A
// broken or stalled connection is replaced, and reading goes on where it was.
type blobReader struct {
	ctx   context.Context
	s     *session
	desc  v1.Descriptor
	hash  hash.Hash
	off   int64 // bytes given out and hashed
	body  io.ReadCloser
	live  context.Context // of the connection
	watch *time.Timer     // ends it when no byte comes

	faults  int   // in a row
	faultAt int64 // off at the last one
	err     error // the last word, io.EOF included
}

// progress is how many bytes must come between faults for the count to begin
// anew: a connection that gives one byte at a time does not go on for ever.
const progress = 1 << 20

// blob opens a blob. URLs of foreign layers are not followed: the registry has
// it, or nobody.
func (s *session) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	h, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return nil, err
	}
	r := &blobReader{ctx: ctx, s: s, desc: d, hash: h}
	if err := r.connect(); err != nil {
		if len(d.URLs) > 0 && kindOf(err) == ErrNotFound {
			err = fmt.Errorf("%w; it is a foreign layer, and its other addresses are not followed", err)
		}
		return nil, err
	}
	return r, nil
}

func (r *blobReader) Read(p []byte) (int, error) {
	for r.err == nil {
		n, err := r.read(p)
		r.hash.Write(p[:n])
		r.off += int64(n)
		r.err = r.judge(err)
		if n > 0 || len(p) == 0 {
			// What is wrong with the end is told after the bytes before it.
			return n, nil
		}
	}
	return 0, r.err
}

func (r *blobReader) read(p []byte) (int, error) {
	if r.body == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	r.watch.Reset(r.s.c.stall)
	n, err := r.body.Read(p)
	r.watch.Stop()
	if err != nil && context.Cause(r.live) == errSlow {
		err = &netError{fmt.Errorf("%w: no byte for %v", errSlow, r.s.c.stall)}
	}
	return n, err
}

// judge decides how it goes on after a read: nil for on and on.
func (r *blobReader) judge(err error) error {
	switch {
	case r.off > r.desc.Size:
		return r.failed(fmt.Errorf("%w: blob %s has more than the %d bytes of its description", ErrIntegrity, r.desc.Digest, r.desc.Size))
	case err == nil:
		return nil
	case r.off == r.desc.Size && err == io.EOF:
		return r.verify()
	case r.ctx.Err() != nil:
		return r.failed(context.Cause(r.ctx))
	case err == io.EOF || isNetwork(err):
		return r.pauseAfter(err)
	}
	return r.failed(err)
}

func (r *blobReader) verify() error {
	got := v1.Hash{Algorithm: r.desc.Digest.Algorithm, Hex: hex.EncodeToString(r.hash.Sum(nil))}
	if got != r.desc.Digest {
		return r.failed(fmt.Errorf("%w: got %s, want %s", ErrIntegrity, got, r.desc.Digest))
	}
	return io.EOF
}

func (r *blobReader) failed(err error) error {
	return failure("pull", r.s.at.String()+"@"+r.desc.Digest.String(), r.s.at, err)
}

// pauseAfter drops the connection; the next read makes a new one.
func (r *blobReader) pauseAfter(err error) error {
	r.drop()
	if r.off-r.faultAt >= progress {
		r.faults = 0
	}
	r.faultAt = r.off
	if r.faults >= r.s.c.retry.extra+r.s.c.layer {
		if err == io.EOF {
			err = &netError{io.ErrUnexpectedEOF}
		}
		return r.failed(fmt.Errorf("broke off at byte %d of %d: %w", r.off, r.desc.Size, err))
	}
	r.faults++
	return sleep(r.ctx, r.s.c.retry.pause(r.faults-1))
}

// connect asks for the blob from r.off on.
func (r *blobReader) connect() error {
	header := http.Header{}
	if r.off > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.off, r.desc.Size-1))
	}
	if r.off > 0 && r.off == r.desc.Size {
		// Everything is here, only the end was not seen.
		r.attach(r.ctx, http.NoBody, func() {})
		return nil
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	resp, err := r.s.do(ctx, http.MethodGet, r.s.url("blobs", r.desc.Digest.String()), header, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		cancel(nil)
		return err
	}
	r.attach(ctx, &closer{resp.Body, func() { cancel(nil) }}, func() { cancel(errSlow) })
	if err := r.place(resp); err != nil {
		r.drop()
		return err
	}
	return nil
}

func (r *blobReader) attach(live context.Context, body io.ReadCloser, stop func()) {
	r.live, r.body = live, body
	r.watch = time.AfterFunc(r.s.c.stall, stop)
	r.watch.Stop()
}

// place checks that the answer begins where it should, and skips what was had
// already when the registry does not know ranges.
func (r *blobReader) place(resp *http.Response) error {
	left := r.desc.Size - r.off
	if resp.StatusCode == http.StatusOK {
		left = r.desc.Size
	}
	if resp.ContentLength >= 0 && resp.ContentLength != left {
		return fmt.Errorf("%w: blob %s comes with %d bytes, its description says %d", ErrIntegrity, r.desc.Digest, resp.ContentLength, left)
	}
	switch {
	case r.off == 0 && resp.StatusCode == http.StatusPartialContent:
		return fmt.Errorf("%w: a part of blob %s came without being asked for", ErrIntegrity, r.desc.Digest)
	case r.off == 0:
		return nil
	case resp.StatusCode == http.StatusOK:
		return r.skip()
	}
	if cr := resp.Header.Get("Content-Range"); cr != "" && !strings.HasPrefix(cr, fmt.Sprintf("bytes %d-", r.off)) {
		return fmt.Errorf("%w: asked for blob %s from byte %d on, got %q", ErrIntegrity, r.desc.Digest, r.off, clip(cr))
	}
	return nil
}

func (r *blobReader) skip() error {
	buf := make([]byte, 64<<10)
	for left := r.off; left > 0; {
		r.watch.Reset(r.s.c.stall)
		n, err := r.body.Read(buf[:min(left, int64(len(buf)))])
		left -= int64(n)
		r.watch.Stop()
		if err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return &netError{err}
		}
	}
	return nil
}

func (r *blobReader) drop() {
	if r.body != nil {
		r.watch.Stop()
		r.body.Close()
		r.body = nil
	}
}

// Close ends the download.
func (r *blobReader) Close() error {
	r.drop()
	if r.err == nil {
		r.err = errors.New("read of a closed blob")
	}
	return nil
}

// closer closes a body and then does something.
type closer struct {
	io.ReadCloser
	then func()
}

func (c *closer) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}
