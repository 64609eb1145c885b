package registry_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blob is a layer of bytes.
type blob struct {
	v1.Layer
	content []byte
	digest  v1.Hash
	open    func() (io.ReadCloser, error)
}

func newBlob(t testing.TB, content []byte) blob {
	t.Helper()
	h, _, err := v1.SHA256(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return blob{content: content, digest: h}
}

func (b blob) Digest() (v1.Hash, error)            { return b.digest, nil }
func (b blob) Size() (int64, error)                { return int64(len(b.content)), nil }
func (b blob) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (b blob) Compressed() (io.ReadCloser, error) {
	if b.open != nil {
		return b.open()
	}
	return io.NopCloser(bytes.NewReader(b.content)), nil
}
