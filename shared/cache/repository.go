package cache

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
)

// Repository keeps entries as tagged images in a repository of a registry. A
// layer that is in another repository of the registry is mounted, and pushed
// from here it is mounted, too.
type Repository struct {
	Repository *registry.Repository
	Keys       Keys
}

// String names the repository.
func (r *Repository) String() string { return r.Repository.String() }

// Get asks for one manifest.
func (r *Repository) Get(ctx context.Context, k Key) (*Entry, error) {
	doc, err := r.Repository.Manifest(ctx, k.Tag())
	if errors.Is(err, registry.ErrNotFound) {
		return nil, ErrMiss
	}
	if errors.Is(err, registry.ErrIntegrity) || errors.Is(err, registry.ErrUnsupported) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	if doc.Image == nil {
		return nil, fmt.Errorf("%w: it is an index", ErrDamaged)
	}
	e, err := read(doc.Image, k, r.Keys)
	if err != nil {
		return nil, err
	}
	for i := range e.Layers {
		r.attach(k, &e.Layers[i].Blob)
	}
	return e, nil
}

// attach makes a blob readable, and lets it be mounted.
func (r *Repository) attach(k Key, b *layer.Blob) {
	d := v1.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}
	b.OpenContext = opener(k, r.String(), b.Digest, func(ctx context.Context) (io.ReadCloser, error) { return r.Repository.Open(ctx, d) })
	b.Open = func() (io.ReadCloser, error) { return b.OpenContext(context.Background()) }
	b.Repository = r.String()
}

// Put pushes layers that are missing, and then the manifest.
func (r *Repository) Put(ctx context.Context, e *Entry) error {
	img, err := newImage(e, r.Keys)
	if err != nil {
		return err
	}
	p, err := r.Repository.Pusher(e.Key.Tag())
	if err != nil {
		return err
	}
	_, err = p.Push(ctx, img)
	return err
}

// opener opens a layer whose loss is a LostError, at its beginning or in the middle.
func opener(k Key, place string, d v1.Hash, open func(context.Context) (io.ReadCloser, error)) func(context.Context) (io.ReadCloser, error) {
	lost := func(ctx context.Context, err error) error {
		if err == nil || err == io.EOF || ctx.Err() != nil { //nolint:errorlint // as io.Reader has it
			return err
		}
		return &LostError{Key: k, Place: place, Digest: d, Err: err}
	}
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open(ctx)
		if err != nil {
			return nil, lost(ctx, err)
		}
		return &lossReader{r, func(err error) error { return lost(ctx, err) }}, nil
	}
}

type lossReader struct {
	io.ReadCloser
	lost func(error) error
}

func (r *lossReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return n, r.lost(err)
}
