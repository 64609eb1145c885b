package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Manifest is a mere manifest to push; what it refers to is there already.
type Manifest struct {
	Type types.MediaType
	Raw  []byte
}

// RawManifest gives the bytes.
func (m Manifest) RawManifest() ([]byte, error) { return m.Raw, nil }

// MediaType gives the type to push it as.
func (m Manifest) MediaType() (types.MediaType, error) { return m.Type, nil }

// The pause after which Amend looks again: several times what a change took,
// and never less than settle.
const (
	settle      = 200 * time.Millisecond
	mostAmends  = 40
	settleTimes = 4
)

// Amend changes what the destination's tag says, and lets no one lose who does
// the same meanwhile. change makes the next manifest of the present one (nil
// where the tag is not set), or returns nil when there is nothing to change; it
// may be called many times.
//
// Registries have no way to write only if nobody else wrote, so that of two who
// read the same, the second to write removes the first one's work. Amend looks
// again after a pause in which the other has written, and repeats its change
// until it stays. What change adds should have been uploaded before: the pause
// grows with the time from reading to writing.
func (p *Pusher) Amend(ctx context.Context, change func(old *Document) (remote.Taggable, error)) (v1.Hash, error) {
	s, err := p.session(ctx, "")
	if err != nil {
		return v1.Hash{}, p.failure(err)
	}
	for range mostAmends {
		start := time.Now()
		old, err := p.present(ctx, s)
		if err != nil {
			return v1.Hash{}, p.failure(err)
		}
		next, err := change(old)
		if err != nil {
			return v1.Hash{}, p.failure(err)
		}
		if next == nil {
			if old == nil {
				return v1.Hash{}, nil
			}
			return old.Descriptor.Digest, nil
		}
		if err := p.below(ctx, next); err != nil {
			return v1.Hash{}, p.failure(err)
		}
		if err := s.putTag(ctx, p.ref.tag, next); err != nil {
			return v1.Hash{}, p.failure(err)
		}
		pause := max(settle, settleTimes*time.Since(start))
		if err := sleep(ctx, pause+rand.N(pause)); err != nil {
			return v1.Hash{}, p.failure(err)
		}
	}
	return v1.Hash{}, p.failure(fmt.Errorf("%w: others change the tag all the time; it did not stay as written after %d attempts", ErrUnavailable, mostAmends))
}

// present is what the tag says; nil where it is not set.
func (p *Pusher) present(ctx context.Context, s *session) (*Document, error) {
	d, err := s.manifest(ctx, p.ref.tag, nil)
	if kindOf(err) == ErrNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newDocument(p.ref.String(), s, d), nil
}

func (s *session) putTag(ctx context.Context, tag string, t remote.Taggable) error {
	raw, err := t.RawManifest()
	if err != nil {
		return err
	}
	mt, err := mediaTypeOf(t, raw)
	if err != nil {
		return err
	}
	_, err = s.putManifest(ctx, tag, mt, raw)
	return err
}

// mediaTypeOf is what the manifest calls itself, or is called by who made it.
func mediaTypeOf(t remote.Taggable, raw []byte) (types.MediaType, error) {
	if t, ok := t.(interface {
		MediaType() (types.MediaType, error)
	}); ok {
		return t.MediaType()
	}
	d := &document{raw: raw}
	err := d.parse("")
	return d.desc.MediaType, err
}

// putManifest writes a manifest under a tag or its digest and returns the
// answer's headers. Unlike commit it leaves subjects to the caller.
func (s *session) putManifest(ctx context.Context, id string, mt types.MediaType, raw []byte) (http.Header, error) {
	for attempt := 0; ; attempt++ {
		header, err := s.putManifestOnce(ctx, id, mt, raw)
		// Another who uploads the same blob can have a registry forget it for a moment.
		if err == nil || attempt >= s.c.retry.extra || !blobsUnknownYet(err) {
			return header, err
		}
		if err := sleep(ctx, s.c.retry.pause(attempt)); err != nil {
			return nil, err
		}
	}
}

func (s *session) putManifestOnce(ctx context.Context, id string, mt types.MediaType, raw []byte) (http.Header, error) {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url("manifests", id).String(), bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.GetBody = body
	req.Header.Set("Content-Type", string(mt))
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer discard(resp.Body)
	return resp.Header, transport.CheckError(resp, http.StatusCreated, http.StatusOK, http.StatusAccepted)
}

// AnnotatedLayer is a layer of an artifact, with what its descriptor says besides.
type AnnotatedLayer struct {
	Layer       partial.CompressedLayer
	Annotations map[string]string
}

// AppendLayers adds layers to the artifact that the destination's tag names,
// and begins one where there is none: an OCI image whose layers are documents,
// as cosign keeps signatures. Layers that it has already, with the same
// annotations, are not added again. As with Amend, nobody's are lost.
func (p *Pusher) AppendLayers(ctx context.Context, add ...AnnotatedLayer) (v1.Hash, error) {
	var layers []mutate.Addendum
	for _, a := range add {
		l, err := partial.CompressedToLayer(a.Layer)
		if err != nil {
			return v1.Hash{}, p.failure(err)
		}
		if err := p.Upload(ctx, l); err != nil {
			return v1.Hash{}, err
		}
		mt, err := l.MediaType()
		if err != nil {
			return v1.Hash{}, p.failure(err)
		}
		layers = append(layers, mutate.Addendum{Layer: l, Annotations: a.Annotations, MediaType: mt})
	}
	return p.Amend(ctx, func(old *Document) (remote.Taggable, error) { return appendLayers(ctx, old, layers) })
}

func appendLayers(ctx context.Context, old *Document, layers []mutate.Addendum) (remote.Taggable, error) {
	base := v1.Image(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON))
	if old != nil {
		var err error
		if base, err = old.artifact(ctx); err != nil {
			return nil, err
		}
		layers = slices.DeleteFunc(slices.Clone(layers), func(a mutate.Addendum) bool { return old.hasLayer(a) })
	}
	if len(layers) == 0 && old != nil {
		return nil, nil
	}
	return mutate.Append(base, layers...)
}

// artifact is the document as an image whose layers are taken as they are.
func (d *Document) artifact(ctx context.Context) (v1.Image, error) {
	if d.Image == nil {
		return nil, fmt.Errorf("%w: %s is an index, where an artifact should be", ErrUnsupported, d.Ref)
	}
	config, err := d.Small(ctx, d.Image.Config, longestDocument)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&storedArtifact{ctx, d, config})
}

func (d *Document) hasLayer(a mutate.Addendum) bool {
	digest, err := a.Layer.Digest()
	return err == nil && slices.ContainsFunc(d.Image.Layers, func(l v1.Descriptor) bool {
		return l.Digest == digest && maps.Equal(l.Annotations, a.Annotations)
	})
}

// storedArtifact is a document in the form that go-containerregistry changes.
type storedArtifact struct {
	ctx    context.Context //nolint:containedctx // v1.Image has no other way
	d      *Document
	config []byte
}

func (a *storedArtifact) RawManifest() ([]byte, error)        { return a.d.Raw, nil }
func (a *storedArtifact) RawConfigFile() ([]byte, error)      { return a.config, nil }
func (a *storedArtifact) MediaType() (types.MediaType, error) { return a.d.Descriptor.MediaType, nil }

func (a *storedArtifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range a.d.Image.Layers {
		if l.Digest == h {
			return &storedLayer{a.ctx, a.d, l}, nil
		}
	}
	return nil, fmt.Errorf("layer %s: not in %s", h, a.d.Ref)
}

type storedLayer struct {
	ctx context.Context //nolint:containedctx // v1.Layer has no other way
	d   *Document
	l   v1.Descriptor
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.l.Digest, nil }
func (l *storedLayer) Size() (int64, error)                { return l.l.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.l.MediaType, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error)  { return l.d.Blob(l.ctx, l.l) }
