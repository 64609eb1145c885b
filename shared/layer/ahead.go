package layer

import (
	"context"
	"errors"
	"io"
	"sync"
)

const (
	aheadItems = 64
	aheadSize  = 64 << 10 // files up to this size are read ahead
)

var errNoContent = errors.New("file has a size but no content")

// item is an entry on its way into the tar.
type item struct {
	header header
	data   []byte // the content, where it was read ahead; in buf
	buf    []byte
	err    error
}

// ahead opens and reads small files while those before them are being written.
type ahead struct {
	items chan *item
	err   error // set before items is closed
	ctx   context.Context
	pool  sync.Pool
}

func newAhead(ctx context.Context, t *Table, o WriteOptions) *ahead {
	a := &ahead{items: make(chan *item, aheadItems), ctx: ctx}
	p := &plan{o: o, give: a.give}
	go func() {
		defer close(a.items)
		a.err = p.run(t)
	}()
	return a
}

func (a *ahead) give(h header) error {
	it, _ := a.pool.Get().(*item)
	if it == nil {
		it = &item{}
	}
	it.header, it.data, it.err = h, nil, nil
	if h.size > 0 && h.size <= aheadSize {
		it.err = it.read()
	}
	select {
	case a.items <- it:
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

func (a *ahead) recycle(it *item) { a.pool.Put(it) }

// wait sees the goroutine off, once its context is cancelled.
func (a *ahead) wait() {
	for range a.items {
	}
}

func (it *item) read() error {
	in := it.header.in
	if in.Content == nil {
		return errNoContent
	}
	r, err := in.Content.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n := int(in.Size)
	// One byte more tells a file that has grown from one that has not.
	if len(it.buf) < n+1 {
		it.buf = make([]byte, max(n+1, 4<<10))
	}
	buf := it.buf[:n+1]
	got, err := readWhole(r, buf)
	switch {
	case err != nil:
		return err
	case got < n:
		return sizeError(in.Size, io.ErrUnexpectedEOF)
	case got > n:
		return longer(in.Size)
	}
	it.data = buf[:n]
	return nil
}

// readWhole reads until buf is full or r at its end. A plain file that gives
// less than was asked for has no more, which saves asking again.
func readWhole(r io.Reader, buf []byte) (int, error) {
	if f, ok := r.(*fdReader); ok {
		n, err := f.Read(buf)
		if err == io.EOF {
			err = nil
		}
		return n, err
	}
	n, err := io.ReadFull(r, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}
