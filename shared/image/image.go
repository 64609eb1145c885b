// Package image puts a config, its history and layers together to an image, and images of several platforms to an index.
//
// It does what BuildKit's image exporter does to the frontend's config. Nothing
// here holds a layer's bytes: they are opened when somebody reads them.
package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/layer"
)

// Spec says what an image is made from.
type Spec struct {
	// Config is the image config as the frontend leaves it: its history is
	// there, its diff IDs and its time of creation are not.
	Config []byte
	// Base is the base image's config, or nil. Its history rows keep their times.
	Base []byte
	// Layers are all layers, the base's first.
	Layers []*layer.Blob
	// Epoch is SOURCE_DATE_EPOCH: no time of this build is later.
	Epoch *time.Time
	// Reproducible makes every time of this build the Epoch, or 1970 without one.
	Reproducible bool
	// Format is the family of media types. The base's layers are relabelled,
	// never recompressed; what has no equal in the family is refused.
	Format Format
	// Annotations are the manifest's.
	Annotations map[string]string
	// Now dates an image that no layer and no history row dates.
	Now time.Time
}

// New makes an image. Equal Specs make images of equal digest. A layer whose
// size nobody knows is read once. Layers that change nothing are kept, as
// BuildKit keeps them.
func New(s Spec) (v1.Image, error) {
	format, err := s.Format.resolve(s.Layers)
	if err != nil {
		return nil, err
	}
	m := &v1.Manifest{SchemaVersion: 2, MediaType: format.manifest(), Layers: []v1.Descriptor{}, Annotations: s.Annotations}
	img := &image{mediaType: m.MediaType}
	for _, b := range s.Layers {
		d, err := descriptor(b, format)
		if err != nil {
			return nil, err
		}
		l, err := newLayer(b, d)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
		img.layers = append(img.layers, l)
		img.diffIDs = append(img.diffIDs, b.DiffID)
	}
	if img.config, err = finish(s); err != nil {
		return nil, err
	}
	m.Config = v1.Descriptor{MediaType: format.config(), Size: int64(len(img.config))}
	if m.Config.Digest, _, err = v1.SHA256(bytes.NewReader(img.config)); err != nil {
		return nil, fmt.Errorf("digest image config: %w", err)
	}
	if img.raw, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	img.manifest = m.DeepCopy()
	return img, nil
}

// image is a v1.Image of parts that are all known.
type image struct {
	mediaType   types.MediaType
	config, raw []byte
	manifest    *v1.Manifest
	layers      []v1.Layer
	diffIDs     []v1.Hash
}

func (i *image) Layers() ([]v1.Layer, error)         { return slices.Clone(i.layers), nil }
func (i *image) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *image) Size() (int64, error)                { return int64(len(i.raw)), nil }
func (i *image) Digest() (v1.Hash, error)            { return partial.Digest(i) }
func (i *image) Manifest() (*v1.Manifest, error)     { return i.manifest.DeepCopy(), nil }
func (i *image) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *image) ConfigName() (v1.Hash, error)        { return i.manifest.Config.Digest, nil }
func (i *image) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }
func (i *image) RawConfigFile() ([]byte, error)      { return i.config, nil }

// LayerByDigest gives the config too, as go-containerregistry's images do.
func (i *image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	if h == i.manifest.Config.Digest {
		return partial.ConfigLayer(i)
	}
	for n, d := range i.manifest.Layers {
		if d.Digest == h {
			return i.layers[n], nil
		}
	}
	return nil, fmt.Errorf("layer %s: not in this image", h)
}

func (i *image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	if n := slices.Index(i.diffIDs, h); n >= 0 {
		return i.layers[n], nil
	}
	return nil, fmt.Errorf("layer with diff ID %s: not in this image", h)
}
