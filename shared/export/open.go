package export

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Open reads an artifact that was saved: an OCI layout, as a directory or as an
// archive, or an archive of docker save. It must hold exactly one image, or one
// index. Blobs are read when they are wanted; close the archive afterwards.
func Open(name string) (Artifact, io.Closer, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if fi.IsDir() {
		a, err := openLayout(name)
		if err != nil {
			return nil, nil, fmt.Errorf("read OCI layout %s: %w", name, err)
		}
		return a, io.NopCloser(nil), nil
	}
	a, c, err := openArchive(name)
	if err != nil {
		return nil, nil, fmt.Errorf("read archive %s: %w", name, err)
	}
	return a, c, nil
}

// only is the one artifact of an index.json; names of one artifact count once, and
// what refers to it not at all.
func only(m *v1.IndexManifest) (v1.Descriptor, error) {
	var found []v1.Descriptor
	seen := map[v1.Hash]bool{}
	for _, d := range m.Manifests {
		if !seen[d.Digest] && !isReferrer(d) {
			seen[d.Digest] = true
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return v1.Descriptor{}, fmt.Errorf("want one image, there are %d", len(found))
	}
	return found[0], nil
}

// isReferrer tells of an entry that it is no image. Some call an image's config its artifact type.
func isReferrer(d v1.Descriptor) bool {
	return d.ArtifactType != "" && !types.MediaType(d.ArtifactType).IsConfig()
}

func openLayout(dir string) (Artifact, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	d, err := only(m)
	if err != nil {
		return nil, err
	}
	if d.MediaType.IsIndex() {
		return index.ImageIndex(d.Digest)
	}
	return index.Image(d.Digest)
}

// Referrers are the manifests in an OCI layout directory that refer to its
// artifact, or to what is in that, as Layout writes them. Other files have none.
func Referrers(name string) ([]v1.Image, error) {
	if fi, err := os.Stat(name); err != nil || !fi.IsDir() {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(name)
	if err != nil {
		return nil, fmt.Errorf("read OCI layout %s: %w", name, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read OCI layout %s: %w", name, err)
	}
	var out []v1.Image
	for _, d := range m.Manifests {
		if !isReferrer(d) || !d.MediaType.IsImage() {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("read referrer %s of OCI layout %s: %w", d.Digest, name, err)
		}
		out = append(out, img)
	}
	return out, nil
}

// maxDocument is how large a manifest or config may be.
const maxDocument = 8 << 20

// section is where a file's bytes are in an archive.
type section struct{ offset, size int64 }

func openArchive(name string) (_ Artifact, _ io.Closer, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	files, err := sections(f)
	if err != nil {
		return nil, nil, err
	}
	if _, ok := files["index.json"]; ok {
		img, err := newArchived(f, files)
		return img, f, err
	}
	if _, ok := files["manifest.json"]; !ok {
		return nil, nil, errors.New("neither an OCI layout nor of docker save")
	}
	img, err := tarball.ImageFromPath(name, nil)
	return img, f, err
}

// sections finds the files of an archive.
func sections(f *os.File) (map[string]section, error) {
	files := make(map[string]section)
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not a tar: %w", err)
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			files[path.Clean(strings.TrimPrefix(h.Name, "/"))] = section{offset, h.Size}
		}
	}
}

// archived is an image in an archive; package partial makes the rest of a v1.Image of it.
type archived struct {
	f        *os.File
	files    map[string]section
	desc     v1.Descriptor
	manifest []byte
	config   []byte
	layers   []v1.Descriptor
}

func newArchived(f *os.File, files map[string]section) (v1.Image, error) {
	a := &archived{f: f, files: files}
	raw, err := a.document("index.json")
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if a.desc, err = only(index); err != nil {
		return nil, err
	}
	if !a.desc.MediaType.IsImage() {
		return nil, fmt.Errorf("holds a %s; save an index as an OCI layout directory", a.desc.MediaType)
	}
	if a.manifest, err = a.verified(a.desc.Digest); err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(a.manifest, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if a.config, err = a.verified(m.Config.Digest); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		if s, ok := files[blobPath(l.Digest)]; len(l.URLs) == 0 && (!ok || s.size != l.Size) {
			return nil, fmt.Errorf("layer %s is missing or cut short", l.Digest)
		}
		a.layers = append(a.layers, l)
	}
	return partial.CompressedToImage(a)
}

func blobPath(h v1.Hash) string { return file{digest: h}.path() }

// document reads a small file.
func (a *archived) document(name string) ([]byte, error) {
	s, ok := a.files[name]
	if !ok {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if s.size > maxDocument {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, s.size, maxDocument)
	}
	b := make([]byte, s.size)
	_, err := a.f.ReadAt(b, s.offset)
	return b, err
}

func (a *archived) verified(h v1.Hash) ([]byte, error) {
	b, err := a.document(blobPath(h))
	if err != nil {
		return nil, err
	}
	got, _, err := v1.SHA256(bytes.NewReader(b))
	if err == nil && got != h {
		err = fmt.Errorf("%s holds %s", blobPath(h), got)
	}
	return b, err
}

func (a *archived) MediaType() (types.MediaType, error) { return a.desc.MediaType, nil }
func (a *archived) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a *archived) RawConfigFile() ([]byte, error)      { return a.config, nil }
func (a *archived) Descriptor() (*v1.Descriptor, error) { return &a.desc, nil }
func (a *archived) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range a.layers {
		if l.Digest == h {
			return &archivedLayer{a, l}, nil
		}
	}
	return nil, fmt.Errorf("layer %s is not in the manifest", h)
}

type archivedLayer struct {
	a *archived
	d v1.Descriptor
}

func (l *archivedLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l *archivedLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l *archivedLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }
func (l *archivedLayer) Descriptor() (*v1.Descriptor, error) { return &l.d, nil }
func (l *archivedLayer) Compressed() (io.ReadCloser, error) {
	s, ok := l.a.files[blobPath(l.d.Digest)]
	if !ok {
		return nil, fmt.Errorf("layer %s is not in the archive", l.d.Digest)
	}
	return io.NopCloser(io.NewSectionReader(l.a.f, s.offset, s.size)), nil
}
