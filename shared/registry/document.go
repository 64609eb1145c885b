package registry

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Document is a manifest or an index in a registry, as it is stored there: an
// image, an index, or an artifact. It is not to be changed.
type Document struct {
	Ref        string // what was asked for, in full
	Repository string // where it was found: host/path, another than Ref's behind a map or mirror
	Descriptor v1.Descriptor
	Raw        []byte

	// One of Image and Index is set. Artifacts are Images by their form.
	Image *v1.Manifest
	Index *v1.IndexManifest

	s *session
}

// Document fetches what a reference names. Unlike Image it chooses no platform,
// looks into no config, and remembers nothing: a tag is asked for anew each
// time. Maps and mirrors are treated as by Image. Errors are *Error; one that
// is ErrNotFound is a registry's plain word that there is none.
func (c *Client) Document(ctx context.Context, ref string) (*Document, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	f, err := c.find(ctx, r)
	if err != nil {
		return nil, err
	}
	return newDocument(r.String(), f.s, f.doc), nil
}

func newDocument(ref string, s *session, d *document) *Document {
	if d.image != nil {
		// Whoever pushes it into another repository of the registry mounts these.
		for _, b := range append([]v1.Descriptor{d.image.Config}, d.image.Layers...) {
			s.c.seen.add(s.at, b.Digest)
		}
	}
	desc := d.desc
	if d.index != nil {
		desc.ArtifactType = d.index.ArtifactType
	} else {
		desc.ArtifactType = d.image.ArtifactType
	}
	return &Document{Ref: ref, Repository: s.at.String(), Descriptor: desc, Raw: d.raw, Image: d.image, Index: d.index, s: s}
}

// Child fetches an entry of an index, or a referrer, from the same repository.
// It must have the size and the type that its descriptor gives.
func (d *Document) Child(ctx context.Context, desc v1.Descriptor) (*Document, error) {
	ref := d.Repository + "@" + desc.Digest.String()
	doc, err := d.s.manifest(ctx, desc.Digest.String(), &desc)
	if err != nil {
		return nil, failure("pull", ref, d.s.at, err)
	}
	return newDocument(ref, d.s, doc), nil
}

// Blob opens a blob of the same repository. The reader behaves as Layer.Open's.
func (d *Document) Blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	r, err := d.s.blob(ctx, desc)
	if err != nil {
		return nil, failure("pull", d.Repository+"@"+desc.Digest.String(), d.s.at, err)
	}
	return r, nil
}

// Small reads a whole blob of at most limit bytes.
func (d *Document) Small(ctx context.Context, desc v1.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, failure("pull", d.Repository+"@"+desc.Digest.String(), d.s.at,
			fmt.Errorf("%w: the blob has %d bytes, allowed are %d", ErrUnsupported, desc.Size, limit))
	}
	r, err := d.Blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
