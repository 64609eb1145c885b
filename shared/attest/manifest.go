package attest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The marks by which BuildKit, and all who read its images, know attestations.
const (
	artifactType        = "application/vnd.docker.attestation.manifest.v1+json"
	annotationPredicate = "in-toto.io/predicate-type"
	annotationKind      = "vnd.docker.reference.type"
	annotationAbout     = "vnd.docker.reference.digest"
	kindAttestation     = "attestation-manifest"
)

// Manifest makes the artifact that carries statements about an image, in the form
// that BuildKit gives it since 0.26: one manifest with the image as its subject
// and a layer for each statement. It is fit to be a referrer, and an index's child.
func Manifest(subject v1.Descriptor, statements []Statement) (v1.Image, error) {
	m := &manifest{blobs: map[v1.Hash][]byte{}}
	config, err := v1.NewHash(ocispec.DescriptorEmptyJSON.Digest.String())
	if err != nil {
		return nil, err
	}
	doc := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType,
		Config:  v1.Descriptor{MediaType: types.MediaType(ocispec.MediaTypeEmptyJSON), Digest: config, Size: ocispec.DescriptorEmptyJSON.Size},
		Layers:  []v1.Descriptor{},
		Subject: &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	}
	for _, s := range statements {
		raw, err := marshal("statement", s)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(raw)
		d := v1.Descriptor{
			MediaType: mediaType, Digest: hash("sha256", sum[:]), Size: int64(len(raw)),
			Annotations: map[string]string{annotationPredicate: s.PredicateType},
		}
		m.blobs[d.Digest], doc.Layers = raw, append(doc.Layers, d)
	}
	if m.raw, err = json.Marshal(doc); err != nil {
		return nil, fmt.Errorf("write attestation manifest: %w", err)
	}
	m.layers = doc.Layers
	return partial.CompressedToImage(m)
}

// Entry is how an attestation manifest about the image of a digest stands in an
// index: for no platform, so that nobody runs it.
func Entry(about v1.Hash) (platform *v1.Platform, annotations map[string]string) {
	return &v1.Platform{OS: "unknown", Architecture: "unknown"},
		map[string]string{annotationKind: kindAttestation, annotationAbout: about.String()}
}

// manifest is a partial.CompressedImageCore.
type manifest struct {
	raw    []byte
	layers []v1.Descriptor
	blobs  map[v1.Hash][]byte
}

func (m *manifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m *manifest) RawConfigFile() ([]byte, error)      { return ocispec.DescriptorEmptyJSON.Data, nil }
func (m *manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (m *manifest) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	raw, ok := m.blobs[h]
	if !ok {
		return nil, fmt.Errorf("layer %s: not in this attestation", h)
	}
	return &blob{h, raw}, nil
}

type blob struct {
	digest v1.Hash
	raw    []byte
}

func (b *blob) Digest() (v1.Hash, error)            { return b.digest, nil }
func (b *blob) Size() (int64, error)                { return int64(len(b.raw)), nil }
func (b *blob) MediaType() (types.MediaType, error) { return mediaType, nil }
func (b *blob) Compressed() (io.ReadCloser, error)  { return io.NopCloser(bytes.NewReader(b.raw)), nil }
