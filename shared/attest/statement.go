// Package attest says how images were made and what is in them: in-toto statements, and the manifests that carry them.
package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/package-url/packageurl-go"
)

// The types of predicates, as in-toto's catalogue has them.
const (
	TypeProvenance = "https://slsa.dev/provenance/v1"
	TypeSPDX       = "https://spdx.dev/Document"
	TypeCycloneDX  = "https://cyclonedx.org/bom"
)

// StatementV1 is the type of the statements that are made here.
const StatementV1 = "https://in-toto.io/Statement/v1"

// mediaType is that of a statement which nobody signed.
const mediaType types.MediaType = "application/vnd.in-toto+json"

// Predicate is what is said of an image.
type Predicate struct {
	Type    string
	Content json.RawMessage
}

// Statement is an in-toto statement.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Resource      `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Resource is in-toto's ResourceDescriptor, as far as it is needed.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
	// Annotations are what a signature says besides; nothing else has any.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// State makes statements about the image of one digest. Names are what the image
// is called, as Name makes them; there may be none.
func State(digest v1.Hash, names []string, predicates []Predicate) []Statement {
	set := map[string]string{digest.Algorithm: digest.Hex}
	var subjects []Resource
	for _, n := range names {
		subjects = append(subjects, Resource{Name: n, Digest: set})
	}
	if len(subjects) == 0 {
		subjects = []Resource{{Digest: set}}
	}
	out := make([]Statement, 0, len(predicates))
	for _, p := range predicates {
		out = append(out, Statement{StatementV1, subjects, p.Type, p.Content})
	}
	return out
}

// Name is an image's name in a statement, the package URL that BuildKit gives:
// pkg:docker/registry.example/app@1.0?platform=linux%2Famd64. The repository is
// without docker.io; version is a tag or a digest, or empty.
func Name(repository, version, platform string) string {
	var q packageurl.Qualifiers
	if platform != "" {
		q = packageurl.QualifiersFromMap(map[string]string{"platform": platform})
	}
	space, name := "", repository
	if i := strings.LastIndexByte(repository, '/'); i >= 0 {
		space, name = repository[:i], repository[i+1:]
	}
	return packageurl.NewPackageURL(packageurl.TypeDocker, space, name, version, q, "").ToString()
}

// hash makes a digest of its text.
func hash(algorithm string, sum []byte) v1.Hash {
	return v1.Hash{Algorithm: algorithm, Hex: hex.EncodeToString(sum)}
}

func marshal(what string, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", what, err)
	}
	return raw, nil
}

// Bytes is the digest of a text, in in-toto's form.
func Bytes(text []byte) map[string]string {
	sum := sha256.Sum256(text)
	return map[string]string{"sha256": hex.EncodeToString(sum[:])}
}
