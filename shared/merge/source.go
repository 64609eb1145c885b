package merge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
)

// Source is an image or an index to take in.
type Source struct {
	// Text is how the user wrote it.
	Text string
	// Ref is a reference; Path is a file or directory instead: an OCI layout, an
	// archive of one, or an archive as `docker save` makes it.
	Ref, Path string
	// Select is the tag or digest of what is meant in Path; not needed where there is one thing only.
	Select string
	// Platform is what the image is declared to be for; nil leaves it to the
	// image. Of an index it chooses.
	Platform *v1.Platform
	// Annotations are added to the entry.
	Annotations map[string]string
}

// ParseSource reads how a user names a source: a reference; a digest, which is
// looked for in repository; a path, which begins with "/", "./" or "../", or
// has "oci-layout://", "oci:", "oci-archive:" or "docker-archive:" before it.
// After a path may stand ":TAG" or "@DIGEST".
func ParseSource(text, repository string) (Source, error) {
	s := Source{Text: text}
	for _, scheme := range []string{"oci-layout://", "oci-archive:", "docker-archive:", "oci:"} {
		if path, ok := strings.CutPrefix(text, scheme); ok {
			s.Path, s.Select = splitPath(path)
			return s, nil
		}
	}
	switch {
	case text == "":
		return s, fmt.Errorf("a source is empty")
	case IsPath(text):
		s.Path, s.Select = splitPath(text)
	case strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "sha512:"):
		if _, err := v1.NewHash(text); err != nil {
			return s, fmt.Errorf("source %q: %w", text, err)
		}
		if repository == "" {
			return s, fmt.Errorf("source %q: a digest alone needs a target, in whose repository it is", text)
		}
		s.Ref = repository + "@" + text
	default:
		s.Ref = text
	}
	return s, nil
}

// IsPath tells whether a source's text is a path. No reference begins as paths do.
func IsPath(text string) bool {
	return filepath.IsAbs(text) || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || text == "." || text == ".."
}

// splitPath takes a tag or digest off a path, unless the whole is a file's name.
func splitPath(s string) (path, chosen string) {
	if _, err := os.Stat(s); err == nil {
		return s, ""
	}
	if before, digest, ok := strings.Cut(s, "@"); ok {
		return before, digest
	}
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// place is where manifests and their blobs are: a repository, a layout, an archive.
type place interface {
	// manifest gives the bytes that a descriptor names, compared with it.
	manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	// referrers are what refers to a manifest there.
	referrers(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error)
	// repository is the place's name in a registry; "" elsewhere.
	repository() string
}

// node is a manifest and where it is.
type node struct {
	desc v1.Descriptor
	raw  []byte
	at   place
}

// open finds what a source names.
func (m *Merger) open(ctx context.Context, s Source) (node, error) {
	if s.Path != "" {
		return openPath(s)
	}
	doc, err := m.Registry.Document(ctx, s.Ref)
	if err != nil {
		return node{}, err
	}
	return node{doc.Descriptor, doc.Raw, repository{doc}}, nil
}

// repository is a place in a registry.
type repository struct{ doc *registry.Document }

func (r repository) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	doc, err := r.doc.Child(ctx, d)
	if err != nil {
		return nil, err
	}
	return doc.Raw, nil
}

func (r repository) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return r.doc.Blob(ctx, d)
}

func (r repository) referrers(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
	if d.Digest == r.doc.Descriptor.Digest {
		return r.doc.Referrers(ctx)
	}
	doc, err := r.doc.Child(ctx, d)
	if err != nil {
		return nil, err
	}
	return doc.Referrers(ctx)
}

func (r repository) repository() string { return r.doc.Repository }

// child fetches a manifest that a node refers to.
func (n node) child(ctx context.Context, d v1.Descriptor) (node, error) {
	raw, err := n.at.manifest(ctx, d)
	if err != nil {
		return node{}, err
	}
	return node{d, raw, n.at}, nil
}

// longestConfig is how large an image's config may be.
const longestConfig = 32 << 20

// small reads a blob of a node.
func (n node) small(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Size > longestConfig {
		return nil, fmt.Errorf("blob %s: it has %d bytes, allowed are %d", d.Digest, d.Size, longestConfig)
	}
	r, err := n.at.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	return b, verify(d, b)
}

// verify compares bytes with their descriptor.
func verify(d v1.Descriptor, b []byte) error {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	switch {
	case err != nil:
		return err
	case d.Digest.Algorithm != h.Algorithm:
		return fmt.Errorf("%w: %s: only sha256 is known here", registry.ErrUnsupported, d.Digest)
	case h != d.Digest || n != d.Size:
		return fmt.Errorf("%w: got %s with %d bytes, want %s with %d", registry.ErrIntegrity, h, n, d.Digest, d.Size)
	}
	return nil
}

// config reads the config of an image; nil for what is no image.
func (n node) config(ctx context.Context) (*v1.ConfigFile, error) {
	var m v1.Manifest
	if err := json.Unmarshal(n.raw, &m); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", n.desc.Digest, err)
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, nil
	}
	b, err := n.small(ctx, m.Config)
	if err != nil {
		return nil, fmt.Errorf("config of %s: %w", n.desc.Digest, err)
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("config of %s: %w", n.desc.Digest, err)
	}
	return c, nil
}

// index reads a node that is an index; nil for one that is not.
func (n node) index() (*v1.IndexManifest, error) {
	mt := n.desc.MediaType
	if mt == "" {
		mt = typeOf(n.raw)
	}
	if !mt.IsIndex() {
		return nil, nil
	}
	var idx v1.IndexManifest
	if err := json.Unmarshal(n.raw, &idx); err != nil {
		return nil, fmt.Errorf("read index %s: %w", n.desc.Digest, err)
	}
	return &idx, nil
}

func typeOf(raw []byte) types.MediaType {
	var m struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	_ = json.Unmarshal(raw, &m)
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return types.OCIImageIndex
	}
	return types.OCIManifestSchema1
}
