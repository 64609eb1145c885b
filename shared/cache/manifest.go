package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/image"
)

// An entry is kept as an image, which every registry takes: its layers are the
// entry's, its manifest has the payload and the signature as annotations, so that
// one request tells everything.
const (
	annotationEntry     = "build.strake.cache.entry"
	annotationSignature = "build.strake.cache.signature"
)

// newImage makes the image of an entry.
func newImage(e *Entry, keys Keys) (v1.Image, error) {
	raw, signature, err := written(e, keys)
	if err != nil {
		return nil, err
	}
	m := &v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{},
		Annotations: map[string]string{annotationEntry: string(raw)},
	}
	if signature != "" {
		m.Annotations[annotationSignature] = signature
	}
	img := &entryImage{layers: make(map[v1.Hash]v1.Layer)}
	conf := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	parts := append(strings.Split(e.Platform, "/"), "", "")
	conf.OS, conf.Architecture, conf.Variant = parts[0], parts[1], parts[2]
	for _, l := range e.Layers {
		if img.layers[l.Digest], err = image.Layer(&l.Blob); err != nil {
			return nil, err
		}
		mediaType, err := img.layers[l.Digest].MediaType() // OCI's, as the manifest is
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: mediaType, Digest: l.Digest, Size: l.Size})
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, l.DiffID)
	}
	if img.config, err = json.Marshal(conf); err != nil {
		return nil, fmt.Errorf("write config of cache entry: %w", err)
	}
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(img.config))}
	if m.Config.Digest, _, err = v1.SHA256(bytes.NewReader(img.config)); err != nil {
		return nil, err
	}
	if img.manifest, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("write manifest of cache entry: %w", err)
	}
	return partial.CompressedToImage(img)
}

// written is the payload of an entry and its signature. One that was got, and is
// put elsewhere by somebody who cannot sign, stays as it is.
func written(e *Entry, keys Keys) (raw []byte, signature string, err error) {
	if e.raw != nil && e.rawKey == e.Key && keys.Sign == nil {
		return e.raw, e.signature, nil
	}
	if raw, err = encode(e); err != nil {
		return nil, "", err
	}
	signature, err = keys.sign(raw)
	return raw, signature, err
}

// entryImage is a partial.CompressedImageCore.
type entryImage struct {
	config, manifest []byte
	layers           map[v1.Hash]v1.Layer
}

func (i *entryImage) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *entryImage) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (i *entryImage) RawManifest() ([]byte, error)        { return i.manifest, nil }

func (i *entryImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if l, ok := i.layers[h]; ok {
		return l, nil
	}
	return nil, fmt.Errorf("layer %s: not in this entry", h)
}

var errNoEntry = errors.New("it is an image, but no entry of a cache")

// read takes the entry out of the manifest that is kept under k.
func read(m *v1.Manifest, k Key, keys Keys) (*Entry, error) {
	raw := m.Annotations[annotationEntry]
	if raw == "" {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, errNoEntry)
	}
	if err := keys.verify([]byte(raw), m.Annotations[annotationSignature]); err != nil {
		return nil, err
	}
	e, err := decode([]byte(raw), k)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != len(e.Layers) {
		return nil, fmt.Errorf("%w: its manifest has %d layers, not %d", ErrDamaged, len(m.Layers), len(e.Layers))
	}
	for i, d := range m.Layers {
		if l := e.Layers[i]; d.Digest != l.Digest || d.Size != l.Size {
			return nil, fmt.Errorf("%w: its manifest has the layer %s, not %s", ErrDamaged, d.Digest, l.Digest)
		}
	}
	e.raw, e.rawKey, e.signature = []byte(raw), k, m.Annotations[annotationSignature]
	return e, nil
}
