package export

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Tar is an Exporter to an archive as docker save writes it since Docker 25:
// an OCI layout that has Docker's manifest.json too, so that docker load,
// podman load, skopeo, containerd and crane all read it. Equal images give
// equal archives.
type Tar struct {
	// Path is where the archive goes; "-" is Stdout.
	Path   string
	Stdout io.Writer
	// Names are the image's names inside.
	Names []Destination
}

// Export writes the archive.
func (t *Tar) Export(ctx context.Context, a Artifact) error {
	img, err := single(a)
	if err != nil {
		return fmt.Errorf("write archive %s: %w", t.Path, err)
	}
	write := func(w io.Writer) error { return t.write(ctx, img, w) }
	switch {
	case t.Path != "-":
		if err = makeParents(t.Path, 0o755); err == nil {
			err = replace(t.Path, 0o644, write)
		}
	case t.Stdout == nil:
		err = errors.New("there is no standard output")
	default:
		err = write(t.Stdout)
	}
	if err != nil {
		return fmt.Errorf("write archive %s: %w", t.Path, err)
	}
	return nil
}

// single is the one image that docker load can take: manifest.json knows no
// platforms.
func single(a Artifact) (v1.Image, error) {
	if img, ok := a.(v1.Image); ok {
		return img, nil
	}
	idx, ok := a.(v1.ImageIndex)
	if !ok {
		return nil, errors.New("neither an image nor an index")
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []v1.Hash
	for _, d := range m.Manifests {
		// BuildKit's attestations stand beside the images as unknown/unknown.
		if d.Platform == nil || d.Platform.OS != "unknown" {
			found = append(found, d.Digest)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("it holds one image, the build made %d; use an OCI layout", len(found))
	}
	return idx.Image(found[0])
}

// saved is an entry of docker save's manifest.json.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// write puts what names the content first, so that a reader finds it soon.
func (t *Tar) write(ctx context.Context, img v1.Image, w io.Writer) error {
	names := t.Names
	if len(names) == 0 {
		d, err := ParseDestination(unset)
		if err != nil {
			return err
		}
		names = []Destination{d}
	}
	index, err := topIndex(img, names)
	if err != nil {
		return err
	}
	manifest, err := dockerManifest(img, names)
	if err != nil {
		return err
	}
	blobs, err := files(img)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, f := range []struct {
		name    string
		content any
	}{{"oci-layout", layoutVersion}, {"index.json", index}, {"manifest.json", manifest}} {
		if err := writeJSON(tw, f.name, f.content); err != nil {
			return err
		}
	}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := tw.WriteHeader(header(dir, tar.TypeDir, 0o755, 0)); err != nil {
			return err
		}
	}
	for _, f := range blobs {
		if err := tw.WriteHeader(header(f.path(), tar.TypeReg, 0o644, f.size)); err != nil {
			return err
		}
		if err := f.copyTo(ctx, tw); err != nil {
			return err
		}
	}
	return tw.Close()
}

func dockerManifest(img v1.Image, names []Destination) ([]saved, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	s := saved{Config: file{digest: m.Config.Digest}.path(), RepoTags: []string{}, Layers: []string{}}
	for _, n := range names {
		if n.Tag != "" {
			s.RepoTags = append(s.RepoTags, n.docker())
		}
	}
	for _, l := range m.Layers {
		s.Layers = append(s.Layers, file{digest: l.Digest}.path())
	}
	return []saved{s}, nil
}

func writeJSON(tw *tar.Writer, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := tw.WriteHeader(header(name, tar.TypeReg, 0o644, int64(len(b)))); err != nil {
		return err
	}
	_, err = tw.Write(b)
	return err
}

func header(name string, kind byte, mode, size int64) *tar.Header {
	return &tar.Header{Name: name, Typeflag: kind, Mode: mode, Size: size, ModTime: time.Unix(0, 0)}
}
