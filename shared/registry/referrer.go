package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrer is a document about a manifest, in the form that the image
// specification recommends ("Guidelines for Artifact Usage").
type Referrer struct {
	Type        string        // artifactType
	Subject     v1.Descriptor // what it is about
	Annotations map[string]string
	MediaType   types.MediaType // of Content
	Content     []byte
}

// Image makes the manifest, with an empty config and one layer. Pusher.Attach pushes it.
func (a Referrer) Image() (v1.Image, error) {
	layer := static.NewLayer(a.Content, a.MediaType)
	digest, err := layer.Digest()
	if err != nil {
		return nil, err
	}
	empty := ocispec.DescriptorEmptyJSON
	config, err := v1.NewHash(empty.Digest.String())
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: a.Type,
		Config:      v1.Descriptor{MediaType: types.MediaType(empty.MediaType), Digest: config, Size: empty.Size},
		Layers:      []v1.Descriptor{{MediaType: a.MediaType, Digest: digest, Size: int64(len(a.Content))}},
		Subject:     &v1.Descriptor{MediaType: a.Subject.MediaType, Digest: a.Subject.Digest, Size: a.Subject.Size},
		Annotations: a.Annotations,
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&madeReferrer{raw, digest, a})
}

type madeReferrer struct {
	raw    []byte
	digest v1.Hash
	a      Referrer
}

func (m *madeReferrer) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m *madeReferrer) RawConfigFile() ([]byte, error)      { return ocispec.DescriptorEmptyJSON.Data, nil }
func (m *madeReferrer) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (m *madeReferrer) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h != m.digest {
		return nil, fmt.Errorf("layer %s: not in this referrer", h)
	}
	return madeLayer{m}, nil
}

type madeLayer struct{ m *madeReferrer }

func (l madeLayer) Digest() (v1.Hash, error)            { return l.m.digest, nil }
func (l madeLayer) Size() (int64, error)                { return int64(len(l.m.a.Content)), nil }
func (l madeLayer) MediaType() (types.MediaType, error) { return l.m.a.MediaType, nil }
func (l madeLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.m.a.Content)), nil
}
