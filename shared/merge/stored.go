package merge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// taggable makes of a node what a pusher takes. What is below is read when the
// pusher wants it, and not at all where the destination has it. The context is
// that of the push.
func (n node) taggable(ctx context.Context) (remote.Taggable, error) {
	idx, err := n.index()
	if err != nil {
		return nil, err
	}
	if idx != nil {
		return &storedIndex{ctx, n, idx}, nil
	}
	var m v1.Manifest
	if err := json.Unmarshal(n.raw, &m); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", n.desc.Digest, err)
	}
	return partial.CompressedToImage(&storedImage{ctx, n, &m})
}

// storedImage is an image, or an artifact, at a place.
type storedImage struct {
	ctx context.Context //nolint:containedctx // v1.Image has no other way
	n   node
	m   *v1.Manifest
}

func (i *storedImage) RawManifest() ([]byte, error)        { return i.n.raw, nil }
func (i *storedImage) MediaType() (types.MediaType, error) { return i.n.mediaType(), nil }
func (i *storedImage) RawConfigFile() ([]byte, error)      { return i.n.small(i.ctx, i.m.Config) }
func (i *storedImage) Manifest() (*v1.Manifest, error)     { return i.m, nil }
func (n node) mediaType() types.MediaType                  { return typeOfDescriptor(n.desc, n.raw) }

func typeOfDescriptor(d v1.Descriptor, raw []byte) types.MediaType {
	if d.MediaType != "" {
		return d.MediaType
	}
	return typeOf(raw)
}

// LayerByDigest also gives the config, as go-containerregistry expects.
func (i *storedImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range append([]v1.Descriptor{i.m.Config}, i.m.Layers...) {
		if d.Digest == h {
			return &storedBlob{i.ctx, i.n.at, d}, nil
		}
	}
	return nil, fmt.Errorf("blob %s: not in manifest %s", h, i.n.desc.Digest)
}

// storedBlob is a blob at a place.
type storedBlob struct {
	ctx context.Context //nolint:containedctx // v1.Layer has no other way
	at  place
	d   v1.Descriptor
}

func (b *storedBlob) Digest() (v1.Hash, error)            { return b.d.Digest, nil }
func (b *storedBlob) Size() (int64, error)                { return b.d.Size, nil }
func (b *storedBlob) MediaType() (types.MediaType, error) { return b.d.MediaType, nil }
func (b *storedBlob) Compressed() (io.ReadCloser, error) {
	if len(b.d.Data) > 0 && int64(len(b.d.Data)) == b.d.Size {
		return io.NopCloser(bytes.NewReader(b.d.Data)), nil
	}
	return b.at.blob(b.ctx, b.d)
}

// storedIndex is an index at a place.
type storedIndex struct {
	ctx context.Context //nolint:containedctx // v1.ImageIndex has no other way
	n   node
	m   *v1.IndexManifest
}

func (x *storedIndex) MediaType() (types.MediaType, error)       { return x.n.mediaType(), nil }
func (x *storedIndex) Digest() (v1.Hash, error)                  { return partial.Digest(x) }
func (x *storedIndex) Size() (int64, error)                      { return int64(len(x.n.raw)), nil }
func (x *storedIndex) IndexManifest() (*v1.IndexManifest, error) { return x.m, nil }
func (x *storedIndex) RawManifest() ([]byte, error)              { return x.n.raw, nil }

func (x *storedIndex) child(h v1.Hash) (remote.Taggable, error) {
	for _, d := range x.m.Manifests {
		if d.Digest != h {
			continue
		}
		c, err := x.n.child(x.ctx, d)
		if err != nil {
			return nil, err
		}
		return c.taggable(x.ctx)
	}
	return nil, fmt.Errorf("manifest %s: not in index %s", h, x.n.desc.Digest)
}

// Image gives an entry that is an image.
func (x *storedIndex) Image(h v1.Hash) (v1.Image, error) {
	t, err := x.child(h)
	if err != nil {
		return nil, err
	}
	if img, ok := t.(v1.Image); ok {
		return img, nil
	}
	return nil, fmt.Errorf("manifest %s: it is no image", h)
}

// ImageIndex gives an entry that is an index.
func (x *storedIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	t, err := x.child(h)
	if err != nil {
		return nil, err
	}
	if idx, ok := t.(v1.ImageIndex); ok {
		return idx, nil
	}
	return nil, fmt.Errorf("manifest %s: it is no index", h)
}
