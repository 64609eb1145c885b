package image

import (
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Platformed is an image in an index.
type Platformed struct {
	Image v1.Image
	// Platform is what the image is for; nil takes it from the image's config.
	Platform *v1.Platform
	// Annotations are those of its descriptor in the index.
	Annotations map[string]string
}

// Index makes an index of images in the order given. All are of the index's
// family of media types; an empty Format is the first image's.
func Index(images []Platformed, format Format, annotations map[string]string) (v1.ImageIndex, error) {
	if len(images) == 0 {
		return nil, errors.New("index of no image")
	}
	if format == "" {
		t, err := images[0].Image.MediaType()
		if err != nil {
			return nil, fmt.Errorf("media type of image: %w", err)
		}
		format = OCI
		if isDocker(t) {
			format = Docker
		}
	}
	format, err := format.resolve(nil)
	if err != nil {
		return nil, err
	}
	m := &v1.IndexManifest{SchemaVersion: 2, MediaType: format.index(), Annotations: annotations}
	idx := &index{images: map[v1.Hash]v1.Image{}}
	for _, p := range images {
		d, err := p.descriptor(format)
		if err != nil {
			return nil, err
		}
		m.Manifests = append(m.Manifests, d)
		idx.images[d.Digest] = p.Image
	}
	if format == Docker && (len(annotations) > 0 || annotated(m.Manifests)) {
		return nil, errors.New("annotations of a docker manifest list: only an OCI index has them")
	}
	if idx.raw, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("write index: %w", err)
	}
	idx.manifest = m.DeepCopy()
	return idx, nil
}

func (p Platformed) descriptor(f Format) (v1.Descriptor, error) {
	var d v1.Descriptor
	var err error
	if d.Digest, err = p.Image.Digest(); err != nil {
		return d, fmt.Errorf("digest image: %w", err)
	}
	if d.Size, err = p.Image.Size(); err != nil {
		return d, fmt.Errorf("size of image %s: %w", d.Digest, err)
	}
	if d.MediaType, err = p.Image.MediaType(); err != nil {
		return d, fmt.Errorf("media type of image %s: %w", d.Digest, err)
	}
	if d.MediaType != f.manifest() {
		return d, fmt.Errorf("image %s in %s index: it is a %s", d.Digest, f, d.MediaType)
	}
	d.Annotations = p.Annotations
	if d.Platform = p.Platform; d.Platform != nil {
		return d, nil
	}
	config, err := p.Image.ConfigFile()
	if err != nil {
		return d, fmt.Errorf("config of image %s: %w", d.Digest, err)
	}
	if d.Platform = config.Platform(); d.Platform == nil {
		return d, fmt.Errorf("config of image %s: it names no platform", d.Digest)
	}
	return d, nil
}

func annotated(ds []v1.Descriptor) bool {
	for _, d := range ds {
		if len(d.Annotations) > 0 {
			return true
		}
	}
	return false
}

// index is a v1.ImageIndex of images that are all at hand.
type index struct {
	raw      []byte
	manifest *v1.IndexManifest
	images   map[v1.Hash]v1.Image
}

func (x *index) MediaType() (types.MediaType, error)       { return x.manifest.MediaType, nil }
func (x *index) Digest() (v1.Hash, error)                  { return partial.Digest(x) }
func (x *index) Size() (int64, error)                      { return int64(len(x.raw)), nil }
func (x *index) IndexManifest() (*v1.IndexManifest, error) { return x.manifest.DeepCopy(), nil }
func (x *index) RawManifest() ([]byte, error)              { return x.raw, nil }

func (x *index) Image(h v1.Hash) (v1.Image, error) {
	if img, ok := x.images[h]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("image %s: not in this index", h)
}

func (x *index) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	return nil, fmt.Errorf("index %s: not in this index", h)
}
