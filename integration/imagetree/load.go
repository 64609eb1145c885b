package imagetree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is one image of a reference, and the platform that the index gave for it, if there was an index.
type Image struct {
	v1.Image
	Platform string
}

// Pull loads what the reference names in a registry without TLS: one image, or those of an index in its order.
func Pull(ctx context.Context, reference string) ([]Image, error) {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Get(ref, remote.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", reference, err)
	}
	if !desc.MediaType.IsIndex() {
		img, err := desc.Image()
		return []Image{{Image: img}}, err
	}
	idx, err := desc.ImageIndex()
	if err != nil {
		return nil, err
	}
	return images(idx)
}

// FromLayout loads the images of an OCI image layout.
func FromLayout(dir string) ([]Image, error) {
	idx, err := layout.ImageIndexFromPath(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	return images(idx)
}

// FromTar loads the image of a file that docker load takes.
func FromTar(path string) (Image, error) {
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return Image{}, fmt.Errorf("open %s: %w", path, err)
	}
	return Image{Image: img}, nil
}

func images(idx v1.ImageIndex) ([]Image, error) {
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []Image
	for _, d := range m.Manifests {
		found, err := child(idx, d)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, errors.New("index holds no image")
	}
	return all, nil
}

func child(idx v1.ImageIndex, d v1.Descriptor) ([]Image, error) {
	// What is told of an image, beside it in an index or as its referrer in a layout, is no image.
	if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" || d.ArtifactType != "" {
		return nil, nil
	}
	if d.MediaType.IsIndex() {
		sub, err := idx.ImageIndex(d.Digest)
		if err != nil {
			return nil, err
		}
		return images(sub)
	}
	img, err := idx.Image(d.Digest)
	if err != nil {
		return nil, err
	}
	var platform string
	if d.Platform != nil {
		platform = d.Platform.String()
	}
	return []Image{{Image: img, Platform: platform}}, nil
}
