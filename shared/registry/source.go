package registry

import (
	"fmt"
	"io"
	"sync"
)

// source gives the bodies of an upload. It opens the blob when the first byte
// is wanted, as a body may be made and never sent, and remembers when reading
// the blob failed: that is no fault of the network.
type source struct {
	open func() (io.ReadCloser, error)

	mu  sync.Mutex
	err error
}

func (s *source) body() io.ReadCloser { return &sourceBody{s: s} }

// blame gives the source's own failure instead of the request's.
func (s *source) blame(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("read the blob to upload: %w", s.err)
	}
	return err
}

func (s *source) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	return err
}

// sourceBody is read by the transport, and closed by it, perhaps from another
// goroutine in the middle of a read; then the read closes the blob.
type sourceBody struct {
	s *source

	mu      sync.Mutex
	r       io.ReadCloser
	reading bool
	closed  bool
}

func (b *sourceBody) Read(p []byte) (int, error) {
	r, err := b.begin()
	if err != nil {
		return 0, err
	}
	n, err := r.Read(p)
	if closed := b.end(); err != nil && err != io.EOF && !closed {
		err = b.s.fail(err)
	}
	return n, err
}

func (b *sourceBody) begin() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, io.ErrClosedPipe
	}
	if b.r == nil {
		r, err := b.s.open()
		if err != nil {
			return nil, b.s.fail(err)
		}
		b.r = r
	}
	b.reading = true
	return b.r, nil
}

func (b *sourceBody) end() (closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if b.closed {
		b.r.Close()
	}
	return b.closed
}

func (b *sourceBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.r == nil || b.reading {
		return nil
	}
	return b.r.Close()
}
