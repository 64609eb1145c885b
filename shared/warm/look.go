package warm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warmed"
)

// Platforms gives the images of a record that are there, in the order of its
// index. What is no image has none.
func Platforms(ctx context.Context, s *store.Store, r store.Record) ([]*registry.Image, error) {
	raw, err := s.Read(r.Root, maxDocument)
	if err != nil {
		return nil, err
	}
	roots := []v1.Descriptor{r.Root}
	if m, err := v1.ParseIndexManifest(bytes.NewReader(raw)); err == nil && r.Root.MediaType.IsIndex() {
		roots = nil
		for _, d := range m.Manifests {
			if s.Has(d) && d.MediaType.IsImage() && (d.Platform == nil || d.Platform.OS != "unknown") {
				roots = append(roots, d)
			}
		}
	}
	var out []*registry.Image
	for _, d := range roots {
		img, err := registry.ImageFrom(ctx, warmed.Contents(s), r.Ref, d, nil)
		if errors.Is(err, registry.ErrUnsupported) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", r.Ref, err)
		}
		out = append(out, img)
	}
	return out, nil
}

// Damage is something that is wrong in a store.
type Damage struct {
	What string `json:"what"`
	Err  string `json:"error"`
}

// Verify compares every blob of a store with its digest, and every name with what
// it leads to. Blobs that are wrong are set aside, where the store can be written,
// so that the next warming fetches them.
func Verify(ctx context.Context, s *store.Store) (blobs int, bad []Damage, err error) {
	list, err := s.Blobs()
	if err != nil {
		return 0, nil, err
	}
	for _, d := range list {
		err := s.CheckAll(ctx, d)
		if cerr := context.Cause(ctx); cerr != nil {
			return blobs, bad, cerr
		}
		blobs++
		if err != nil {
			bad = append(bad, Damage{d.Digest.String(), err.Error()})
		}
	}
	refs, err := s.Refs()
	if err != nil {
		return blobs, bad, err
	}
	for _, r := range refs {
		parts, err := s.Parts(r.Root)
		if err != nil {
			bad = append(bad, Damage{r.Ref, err.Error()})
			continue
		}
		for _, p := range parts {
			if !s.Has(p) {
				bad = append(bad, Damage{r.Ref, "blob " + p.Digest.String() + " is not there"})
			}
		}
	}
	return blobs, bad, nil
}
