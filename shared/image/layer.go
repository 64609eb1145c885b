package image

import (
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/layer"
)

// Layer makes a v1.Layer of a blob. It opens the blob only when its bytes are
// asked for, each time anew. A blob that came from a repository is a
// *remote.MountableLayer, so that a push may mount it from there.
func Layer(b *layer.Blob) (v1.Layer, error) {
	d, err := descriptor(b, OCI)
	if err != nil {
		return nil, err
	}
	return newLayer(b, d)
}

func newLayer(b *layer.Blob, d v1.Descriptor) (v1.Layer, error) {
	l, err := partial.CompressedToLayer(&blobLayer{blob: b, desc: d})
	if err != nil || b.Repository == "" {
		return l, err
	}
	repo, err := name.NewRepository(b.Repository, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("origin of layer %s: %w", b.Digest, err)
	}
	return &remote.MountableLayer{Layer: l, Reference: repo.Digest(b.Digest.String())}, nil
}

// blobLayer is a partial.CompressedLayer.
type blobLayer struct {
	blob *layer.Blob
	desc v1.Descriptor
}

func (l *blobLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *blobLayer) DiffID() (v1.Hash, error)            { return l.blob.DiffID, nil }
func (l *blobLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *blobLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *blobLayer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }
func (l *blobLayer) Compressed() (io.ReadCloser, error)  { return l.blob.Open() }

// descriptor is what a manifest of the family says of the blob.
func descriptor(b *layer.Blob, f Format) (v1.Descriptor, error) {
	if b.Digest.Hex == "" || b.DiffID.Hex == "" {
		return v1.Descriptor{}, fmt.Errorf("layer %s with diff ID %s: a digest is missing", b.Digest, b.DiffID)
	}
	var d v1.Descriptor
	if b.Descriptor != nil {
		d = *b.Descriptor.DeepCopy()
	}
	t := b.MediaType
	if t == "" {
		t = d.MediaType
	}
	t, err := f.layer(t)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("layer %s: %w", b.Digest, err)
	}
	if d.Size, err = sizeOf(b); err != nil {
		return v1.Descriptor{}, fmt.Errorf("size of layer %s: %w", b.Digest, err)
	}
	d.MediaType, d.Digest = t, b.Digest
	d.Annotations = public(d.Annotations, f)
	return d, nil
}

// sizeOf reads the blob through if there is no other way to know.
func sizeOf(b *layer.Blob) (n int64, err error) {
	if b.Size > 0 {
		return b.Size, nil
	}
	if b.Descriptor != nil && b.Descriptor.Size > 0 {
		return b.Descriptor.Size, nil
	}
	r, err := b.Open()
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	return io.Copy(io.Discard, r)
}

// public drops what builders and container runtimes note for themselves.
// Docker's manifests have no annotations of layers at all.
func public(annotations map[string]string, f Format) map[string]string {
	if f == Docker {
		return nil
	}
	maps.DeleteFunc(annotations, func(k, _ string) bool {
		return k == "containerd.io/uncompressed" || strings.HasPrefix(k, "buildkit/") ||
			strings.HasPrefix(k, "containerd.io/distribution.source.")
	})
	if len(annotations) == 0 {
		return nil
	}
	return annotations
}
