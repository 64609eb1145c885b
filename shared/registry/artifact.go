package registry

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Artifact is a manifest in a registry, whatever it is about: an image too.
type Artifact struct {
	Digest v1.Hash
	// IsImage tells that its config is that of an image, so that its layers are
	// changesets.
	IsImage bool
	Files   []File
}

// File is a blob that a manifest names as a layer.
type File struct {
	Descriptor v1.Descriptor
	// Open is as that of Layer.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Artifact resolves a reference to a manifest; an index is resolved to its
// image for this machine. Maps and mirrors are asked as by Image. Errors are *Error.
func (c *Client) Artifact(ctx context.Context, ref string) (*Artifact, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	f, err := c.roots.do(ctx, r.String(), func() (*found, error) { return c.find(ctx, r) })
	if err != nil {
		return nil, err
	}
	doc := f.doc
	if doc.index != nil {
		if doc, err = f.s.descend(ctx, doc, want(nil), deepest); err != nil {
			return nil, failure("pull", r.String(), f.s.at, err)
		}
	}
	a := &Artifact{Digest: doc.desc.Digest, IsImage: doc.image.Config.MediaType.IsConfig()}
	for _, d := range doc.image.Layers {
		a.Files = append(a.Files, File{Descriptor: d, Open: func(ctx context.Context) (io.ReadCloser, error) {
			b, err := f.s.blob(ctx, d)
			if err != nil {
				return nil, failure("pull", f.s.at.String()+"@"+d.Digest.String(), f.s.at, err)
			}
			return b, nil
		}})
	}
	return a, nil
}

// CheckReference tells what is wrong with a reference to an image or an
// artifact, nil if nothing is.
func CheckReference(ref string) error {
	if _, err := parseReference(ref); err != nil {
		return fmt.Errorf("reference %q: %w", ref, err)
	}
	return nil
}
