package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// layoutVersion is the content of oci-layout (OCI image specification, "Image Layout").
var layoutVersion = map[string]string{"imageLayoutVersion": "1.0.0"}

// copies is how many blobs are written at once.
const copies = 4

// Layout is an Exporter to an OCI image layout. Its index is written anew and
// names this artifact only; blobs that are there already stay, and those of
// this artifact are not written again.
type Layout struct {
	Path string
	// Names are the artifact's names in the index: the tag as
	// org.opencontainers.image.ref.name, the whole as containerd's annotation.
	Names []Destination
	// Referrers are manifests about the artifact, or about what is in it. The index
	// names them after it.
	Referrers []v1.Image
}

// Export writes the layout, its index last.
func (l *Layout) Export(ctx context.Context, a Artifact) error {
	if err := l.export(ctx, a); err != nil {
		return fmt.Errorf("write OCI layout %s: %w", l.Path, err)
	}
	return nil
}

func (l *Layout) export(ctx context.Context, a Artifact) error {
	index, err := topIndex(a, l.Names)
	if err != nil {
		return err
	}
	blobs, err := files(append([]Artifact{a}, artifacts(l.Referrers)...)...)
	if err != nil {
		return err
	}
	for _, r := range l.Referrers {
		d, err := describeReferrer(r)
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, d)
	}
	if err := os.MkdirAll(filepath.Join(l.Path, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copies)
	for _, f := range blobs {
		g.Go(func() error { return l.blob(gctx, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := l.json("oci-layout", layoutVersion); err != nil {
		return err
	}
	return l.json("index.json", index)
}

func artifacts(images []v1.Image) (out []Artifact) {
	for _, img := range images {
		out = append(out, img)
	}
	return out
}

// describeReferrer is a descriptor by which readers see what a referrer is, without a platform.
func describeReferrer(r v1.Image) (v1.Descriptor, error) {
	m, err := r.Manifest()
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("read manifest of referrer: %w", err)
	}
	d := v1.Descriptor{MediaType: m.MediaType, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if d.Digest, err = r.Digest(); err != nil {
		return d, err
	}
	d.Size, err = r.Size()
	return d, err
}

func (l *Layout) blob(ctx context.Context, f file) error {
	path := filepath.Join(l.Path, filepath.FromSlash(f.path()))
	if holds(ctx, path, f) {
		return nil
	}
	return replace(path, 0o644, func(w io.Writer) error { return f.copyTo(ctx, w) })
}

// holds tells whether the file at path is the blob. Its name alone does not: a
// layout that others wrote, or a dead machine left behind, may lie.
func holds(ctx context.Context, path string, f file) bool {
	r, err := os.Open(path)
	if err != nil {
		return false
	}
	defer r.Close()
	if st, err := r.Stat(); err != nil || st.Size() != f.size || f.digest.Algorithm != "sha256" {
		return false
	}
	h := sha256.New()
	if _, err := io.Copy(h, &reader{ctx, r}); err != nil {
		return false
	}
	return hex.EncodeToString(h.Sum(nil)) == f.digest.Hex
}

func (l *Layout) json(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(l.Path, name), 0o644, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
