// Package export takes a finished image to where the user wants it: registries, archives, layouts, and the small files that tell of it.
package export

import (
	"context"
	"errors"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Artifact is what a build yields: a v1.Image, or a v1.ImageIndex of several.
type Artifact interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error)
	RawManifest() ([]byte, error)
}

// Exporter takes an artifact to one kind of place.
//
// Export returns when the artifact is there as a whole, or with an error that
// says what is not. A place that others look at never shows a part of it: what
// names the content is written last. Export may be called from any goroutine,
// once at a time.
type Exporter interface {
	Export(ctx context.Context, a Artifact) error
}

// Export goes all ways at once. Each is tried; the errors are joined in the
// order of the ways. The files are written when all ways have succeeded; nil
// writes none.
func Export(ctx context.Context, a Artifact, ways []Exporter, files *Files) error {
	errs := make([]error, len(ways))
	var wg sync.WaitGroup
	for i, w := range ways {
		wg.Go(func() { errs[i] = w.Export(ctx, a) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || files == nil {
		return err
	}
	return files.Write(ctx, a)
}

// describe is the artifact's descriptor, with the platform of a single image.
func describe(a Artifact) (v1.Descriptor, error) {
	var d v1.Descriptor
	var err error
	if d.MediaType, err = a.MediaType(); err != nil {
		return d, fmt.Errorf("media type of image: %w", err)
	}
	if d.Digest, err = a.Digest(); err != nil {
		return d, fmt.Errorf("digest image: %w", err)
	}
	if d.Size, err = a.Size(); err != nil {
		return d, fmt.Errorf("size of image %s: %w", d.Digest, err)
	}
	img, ok := a.(v1.Image)
	if !ok {
		return d, nil
	}
	config, err := img.ConfigFile()
	if err != nil {
		return d, fmt.Errorf("config of image %s: %w", d.Digest, err)
	}
	d.Platform = config.Platform()
	return d, nil
}
