package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/store"
)

// Directory keeps entries as images in a directory that many builds share: an
// OCI layout.
type Directory struct {
	Store *store.Store
	Keys  Keys
}

// names is the repository under which a directory keeps its entries.
const names = "strake.cache/layers"

// ref is the name of an entry in the directory.
func ref(k Key) string { return names + ":" + k.Tag() }

// maxManifest is how long the manifest of an entry may be.
const maxManifest = 32 << 20

// String names the directory.
func (d *Directory) String() string { return "oci:" + d.Store.Path() }

// Get reads one manifest. A missing layer makes it a miss, a wrong one is found
// when it is read.
func (d *Directory) Get(_ context.Context, k Key) (*Entry, error) {
	e, rec, err := d.entry(k)
	if err != nil {
		return nil, err
	}
	d.Store.Touch(rec.Root.Digest)
	for i := range e.Layers {
		if !d.has(&e.Layers[i].Blob) {
			return nil, fmt.Errorf("layer %s: %w", e.Layers[i].Digest, ErrMiss)
		}
	}
	return e, nil
}

func (d *Directory) has(b *layer.Blob) bool {
	return d.Store.Has(v1.Descriptor{Digest: b.Digest, Size: b.Size})
}

// entry is Get that does not look whether the layers are there.
func (d *Directory) entry(k Key) (*Entry, *store.Record, error) {
	rec, err := d.Store.Ref(ref(k))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrMiss
	}
	if err != nil {
		return nil, nil, err
	}
	raw, err := d.Store.Read(rec.Root, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrMiss
	}
	if errors.Is(err, store.ErrIntegrity) {
		return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	e, err := read(&m, k, d.Keys)
	if err != nil {
		return nil, nil, err
	}
	for i := range e.Layers {
		d.attach(k, &e.Layers[i].Blob)
	}
	return e, rec, nil
}

// attach makes a blob readable.
func (d *Directory) attach(k Key, b *layer.Blob) {
	desc := v1.Descriptor{Digest: b.Digest, Size: b.Size}
	b.OpenContext = opener(k, d.String(), b.Digest, func(ctx context.Context) (io.ReadCloser, error) {
		r, err := d.Store.Open(desc)
		if err != nil {
			return nil, err
		}
		return &heal{ReadCloser: r, ctx: ctx, store: d.Store, desc: desc}, nil
	})
	b.Open = func() (io.ReadCloser, error) { return b.OpenContext(context.Background()) }
}

// heal sets a blob aside that turned out wrong, so that the next build does not
// find it.
type heal struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // that of the reader
	store *store.Store
	desc  v1.Descriptor
}

func (h *heal) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if errors.Is(err, store.ErrIntegrity) {
		_ = h.store.Check(h.ctx, h.desc) // says the same once more
	}
	return n, err
}

// Put writes layers that are missing, and then the manifest and its name.
func (d *Directory) Put(ctx context.Context, e *Entry) error {
	defer d.Store.Lease()()
	for i := range e.Layers {
		if err := d.keep(ctx, &e.Layers[i].Blob); err != nil {
			return err
		}
	}
	return d.name(ctx, e)
}

// keep writes a layer unless it is there.
func (d *Directory) keep(ctx context.Context, b *layer.Blob) error {
	open := b.OpenContext
	if open == nil {
		open = func(context.Context) (io.ReadCloser, error) { return b.Open() }
	}
	_, err := d.Store.Put(ctx, v1.Descriptor{Digest: b.Digest, Size: b.Size}, open)
	return err
}

// name writes an entry whose layers are not looked at.
func (d *Directory) name(ctx context.Context, e *Entry) error {
	img, err := newImage(e, d.Keys)
	if err != nil {
		return err
	}
	root, err := putImage(ctx, d.Store, img)
	if err != nil {
		return err
	}
	d.Store.Touch(root.Digest)
	return d.Store.SetRef(store.Record{Ref: ref(e.Key), Root: root, ResolvedAt: time.Now()})
}

// putImage writes what an image says of itself, without its layers.
func putImage(ctx context.Context, s *store.Store, img v1.Image) (v1.Descriptor, error) {
	conf, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := s.PutBytes(ctx, conf); err != nil {
		return v1.Descriptor{}, err
	}
	root, err := s.PutBytes(ctx, raw)
	root.MediaType = types.OCIManifestSchema1
	return root, err
}
