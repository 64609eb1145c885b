package cache

import (
	"context"
	"errors"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Front is a directory before places that are farther away: what it has is not
// asked for there, and a layer that is read from there is read once.
type Front struct {
	Near *Directory
	Far  Layers
}

// String names the places.
func (f *Front) String() string { return f.Near.String() + ", " + f.Far.String() }

// Get looks in the directory first. An entry there that is damaged does not hide
// the one behind it.
func (f *Front) Get(ctx context.Context, k Key) (*Entry, error) {
	e, near := f.Near.Get(ctx, k)
	if near == nil {
		return e, nil
	}
	e, err := f.Far.Get(ctx, k)
	if err != nil {
		if errors.Is(err, ErrMiss) && !errors.Is(near, ErrMiss) {
			err = near
		}
		return nil, err
	}
	f.through(e)
	return e, nil
}

// Put is the far places'; see Both.
func (f *Front) Put(ctx context.Context, e *Entry) error {
	return Both{f.Near, f.Far}.Put(ctx, e)
}

// through has layers read through the directory. Once it has them all, it has the
// entry, too.
func (f *Front) through(e *Entry) {
	var mu sync.Mutex
	for i := range e.Layers {
		b := &e.Layers[i].Blob
		far := b.OpenContext
		b.OpenContext = func(ctx context.Context) (io.ReadCloser, error) {
			_, err := f.Near.Store.Put(ctx, v1.Descriptor{Digest: b.Digest, Size: b.Size}, far)
			if err != nil {
				return far(ctx) // a disk that is full must not end the build
			}
			mu.Lock()
			defer mu.Unlock()
			if f.Near.complete(e) {
				_ = f.Near.name(ctx, e) // it is only missed the next time
			}
			near := *b
			f.Near.attach(e.Key, &near)
			return near.OpenContext(ctx)
		}
		b.Open = func() (io.ReadCloser, error) { return b.OpenContext(context.Background()) }
	}
}

// complete tells whether all layers of an entry are here.
func (d *Directory) complete(e *Entry) bool {
	for i := range e.Layers {
		if !d.has(&e.Layers[i].Blob) {
			return false
		}
	}
	return true
}
