package warmed

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
)

// shelf is a place in the directory that has images.
type shelf interface {
	registry.Contents
	has(d v1.Descriptor) bool
	// checked opens a blob that was right a moment ago.
	checked(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// shelves are the places where an image may be: the store, and what kaniko's
// warmer has left by that manifest's digest.
func (i *Images) shelves(manifest v1.Hash) []shelf {
	out := []shelf{&shelfOf{i.Store}}
	if k := kaniko(i.Store.Path(), manifest); k != nil {
		out = append(out, k)
	}
	return out
}

// maxDocument is as in package registry.
const maxDocument = 32 << 20

// Contents is what a store has, for registry.ImageFrom.
func Contents(s *store.Store) registry.Contents { return &shelfOf{s} }

// shelfOf is a store as registry.Contents.
type shelfOf struct{ s *store.Store }

func (c *shelfOf) Document(_ context.Context, d v1.Descriptor) ([]byte, error) {
	return c.s.Read(d, maxDocument)
}

func (c *shelfOf) Blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return c.s.Open(d)
}

func (c *shelfOf) has(d v1.Descriptor) bool { return c.s.Has(d) }

func (c *shelfOf) checked(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if err := c.s.Check(ctx, d); err != nil {
		return nil, err
	}
	return c.s.Open(d)
}
