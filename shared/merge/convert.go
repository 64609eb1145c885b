package merge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/index"
)

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

// convertAll rewrites images of the other family of media types. The blobs stay
// what they are, only their types are called otherwise, so that the platforms'
// manifests get other digests and their configs do not.
func convertAll(_ context.Context, members []member, to index.Format) ([]member, error) {
	if to == index.Auto {
		to = index.OCI
	}
	renamed := map[string]v1.Descriptor{}
	for i, m := range members {
		if !m.entry.IsImage() {
			continue
		}
		old := m.node.desc.Digest.String()
		n, err := convert(m, to)
		if err != nil {
			return nil, fmt.Errorf("convert %s: %w", m.entry.Source, err)
		}
		members[i] = n
		if n.node.desc.Digest.String() != old {
			renamed[old] = n.node.desc
		}
	}
	for _, m := range members {
		if _, ok := renamed[m.entry.About()]; ok {
			return nil, fmt.Errorf("convert: %s has an attestation, which is about the image as it was; drop attestations, or take the other format", m.entry.Source)
		}
	}
	return members, nil
}

func convert(m member, to index.Format) (member, error) {
	isDocker := strings.Contains(string(m.node.mediaType()), types.DockerVendorPrefix)
	if isDocker == (to == index.Docker) {
		return m, nil
	}
	var doc v1.Manifest
	if err := json.Unmarshal(m.node.raw, &doc); err != nil {
		return m, err
	}
	doc, err := image.Format(to).Convert(doc)
	if err != nil {
		return m, err
	}
	return m.rewritten(doc)
}
