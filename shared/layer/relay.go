package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	chunkSize  = 128 << 10
	chunkDepth = 8
)

// relay carries one stream of bytes to several goroutines at once, in chunks
// that are copied in but never copied out again. Its memory is bounded: the
// slowest reader holds the writer back.
type relay struct {
	ctx  context.Context // of the pipeline; a reader that gives up cancels it
	taps []*tap
	free chan *chunk
	cur  *chunk
	n    int64 // bytes written
	max  int64 // 0: no limit
}

type chunk struct {
	buf  []byte
	refs atomic.Int32
}

// tap is one reader's end of a relay.
type tap struct {
	r    *relay
	ch   chan *chunk
	cur  *chunk
	rest []byte
	err  error // why the stream ended; set before ch is closed
}

func newRelay(ctx context.Context, taps int) *relay {
	r := &relay{ctx: ctx, free: make(chan *chunk, chunkDepth+2)}
	for range taps {
		r.taps = append(r.taps, &tap{r: r, ch: make(chan *chunk, chunkDepth)})
	}
	return r
}

// room returns the unused end of the current chunk.
func (r *relay) room() []byte {
	if r.cur == nil {
		select {
		case r.cur = <-r.free:
		default:
			r.cur = &chunk{buf: make([]byte, 0, chunkSize)}
		}
	}
	return r.cur.buf[len(r.cur.buf):cap(r.cur.buf)]
}

// grow takes n bytes, which are in the room already, into the stream.
func (r *relay) grow(n int) error {
	r.cur.buf = r.cur.buf[:len(r.cur.buf)+n]
	r.n += int64(n)
	if r.max > 0 && r.n > r.max {
		return &LimitError{What: "bytes", Max: r.max}
	}
	if len(r.cur.buf) < cap(r.cur.buf) {
		return nil
	}
	return r.flush()
}

func (r *relay) flush() error {
	c := r.cur
	if c == nil || len(c.buf) == 0 {
		return nil
	}
	r.cur = nil
	c.refs.Store(int32(len(r.taps)))
	for _, t := range r.taps {
		select {
		case t.ch <- c:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
	return nil
}

// Write appends p to the stream.
func (r *relay) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := copy(r.room(), rest)
		if err := r.grow(n); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// ReadFrom appends all of src to the stream, reading straight into the chunks.
func (r *relay) ReadFrom(src io.Reader) (int64, error) {
	var total int64
	for {
		n, err := src.Read(r.room())
		total += int64(n)
		if gerr := r.grow(n); gerr != nil {
			return total, gerr
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// close ends the stream: readers see what was written and then err, or io.EOF.
func (r *relay) close(err error) error {
	if err == nil {
		err = r.flush()
	}
	for _, t := range r.taps {
		t.err = err
		close(t.ch)
	}
	return err
}

// next returns the next chunk's bytes, valid until the following call.
func (t *tap) next() ([]byte, error) {
	t.drop()
	c, ok := <-t.ch
	if !ok {
		if t.err != nil {
			return nil, t.err
		}
		return nil, io.EOF
	}
	t.cur = c
	return c.buf, nil
}

func (t *tap) drop() {
	if t.cur == nil {
		return
	}
	if t.cur.refs.Add(-1) == 0 {
		t.cur.buf = t.cur.buf[:0]
		select {
		case t.r.free <- t.cur:
		default:
		}
	}
	t.cur = nil
}

// Read reads from the stream.
func (t *tap) Read(p []byte) (int, error) {
	for len(t.rest) == 0 {
		b, err := t.next()
		if err != nil {
			return 0, err
		}
		t.rest = b
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// each hands every chunk to w until the stream ends.
func (t *tap) each(w io.Writer) error {
	for {
		b, err := t.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
}

// digest hashes what is left of the stream.
func (t *tap) digest() (v1.Hash, error) {
	h := sha256.New()
	if err := t.each(h); err != nil {
		return v1.Hash{}, err
	}
	return sum(h), nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}
