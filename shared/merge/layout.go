package merge

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// openPath finds a source that is a directory or a file.
func openPath(s Source) (node, error) {
	n, err := findPath(s)
	if err != nil {
		return n, &InputError{"source " + s.Text, err}
	}
	return n, nil
}

func findPath(s Source) (node, error) {
	info, err := os.Stat(s.Path)
	if err != nil {
		return node{}, err
	}
	if info.IsDir() {
		return findInLayout(layout{os.DirFS(s.Path)}, s.Select)
	}
	files, err := readTar(s.Path)
	if err != nil {
		return node{}, err
	}
	if _, err := files.Open(ocispec.ImageLayoutFile); err == nil {
		return findInLayout(layout{files}, s.Select)
	}
	return findInDockerArchive(s)
}

// layout is an OCI image layout: a directory, or an archive of one.
type layout struct{ files fs.FS }

// longestIndex is how large an index.json may be.
const longestIndex = 4 << 20

func findInLayout(l layout, chosen string) (node, error) {
	if _, err := fs.Stat(l.files, ocispec.ImageLayoutFile); err != nil {
		return node{}, fmt.Errorf("it is no OCI layout: %w", err)
	}
	f, err := l.files.Open(ocispec.ImageIndexFile)
	if err != nil {
		return node{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, longestIndex))
	if err != nil {
		return node{}, err
	}
	var idx v1.IndexManifest
	if err := json.Unmarshal(raw, &idx); err != nil {
		return node{}, fmt.Errorf("read index.json: %w", err)
	}
	all := idx.Manifests
	if chosen == "" {
		if all, err = l.subjects(all); err != nil {
			return node{}, err
		}
	}
	d, err := choose(all, chosen)
	if err != nil {
		return node{}, err
	}
	// The name in a layout is no annotation of the image.
	d.Annotations = nil
	b, err := l.manifest(context.Background(), d)
	return node{d, b, l}, err
}

// subjects leaves out what refers to something else, where anything is left then.
func (l layout) subjects(all []v1.Descriptor) ([]v1.Descriptor, error) {
	if len(all) < 2 {
		return all, nil
	}
	var own []v1.Descriptor
	for _, d := range all {
		b, err := l.manifest(context.Background(), d)
		if err != nil {
			return nil, err
		}
		if !hasSubject(b) {
			own = append(own, d)
		}
	}
	if len(own) == 0 {
		return all, nil
	}
	return own, nil
}

// choose finds what is meant among the things in a layout. The same thing may
// stand there under several names.
func choose(all []v1.Descriptor, chosen string) (v1.Descriptor, error) {
	var found []v1.Descriptor
	var names []string
	for _, d := range all {
		ref := d.Annotations[ocispec.AnnotationRefName]
		names = append(names, ref+"@"+d.Digest.String())
		if chosen != "" && chosen != ref && chosen != d.Digest.String() {
			continue
		}
		if !slices.ContainsFunc(found, func(o v1.Descriptor) bool { return o.Digest == d.Digest }) {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return v1.Descriptor{}, fmt.Errorf("it has no %q; there is %s: %w", chosen, strings.Join(names, ", "), fs.ErrNotExist)
	}
	return v1.Descriptor{}, fmt.Errorf("it has several: %s; say which by :TAG or @DIGEST", strings.Join(names, ", "))
}

func (l layout) open(d v1.Descriptor) (fs.File, error) {
	name := path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex)
	if !fs.ValidPath(name) || d.Digest.Algorithm == "" {
		return nil, fmt.Errorf("blob %s: %w", d.Digest, fs.ErrInvalid)
	}
	info, err := fs.Stat(l.files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is no regular file", name)
	}
	return l.files.Open(name)
}

func (l layout) manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Size > longestIndex {
		return nil, fmt.Errorf("manifest %s: it has %d bytes, allowed are %d", d.Digest, d.Size, longestIndex)
	}
	f, err := l.open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, d.Size+1))
	if err != nil {
		return nil, err
	}
	return b, verify(d, b)
}

func (l layout) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) { return l.open(d) }

// referrers are the manifests of index.json that refer to d.
func (l layout) referrers(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
	raw, err := fs.ReadFile(l.files, ocispec.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	var idx v1.IndexManifest
	if err := json.Unmarshal(raw, &idx); err != nil {
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	var found []v1.Descriptor
	for _, entry := range idx.Manifests {
		b, err := l.manifest(ctx, entry)
		if err != nil {
			return nil, err
		}
		var m v1.Manifest
		if json.Unmarshal(b, &m) == nil && m.Subject != nil && m.Subject.Digest == d.Digest {
			found = append(found, entry)
		}
	}
	return found, nil
}

func (layout) repository() string { return "" }

// tarFiles are the regular files of an archive, read where they lie.
type tarFiles struct {
	path  string
	files map[string]tarFile
}

type tarFile struct {
	info   fs.FileInfo
	offset int64
}

// mostFiles is how many entries of an archive are read.
const mostFiles = 100_000

func readTar(name string) (*tarFiles, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &tarFiles{name, map[string]tarFile{}}
	r := tar.NewReader(f)
	for range mostFiles {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("it is neither a layout nor an uncompressed archive of an image: %w", err)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			t.files[path.Clean(h.Name)] = tarFile{h.FileInfo(), at}
		}
	}
	return nil, fmt.Errorf("the archive has more than %d entries", mostFiles)
}

// Open opens a file of the archive.
func (t *tarFiles) Open(name string) (fs.File, error) {
	e, ok := t.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: t.path + "/" + name, Err: fs.ErrNotExist}
	}
	f, err := os.Open(t.path)
	if err != nil {
		return nil, err
	}
	return &openTarFile{io.NewSectionReader(f, e.offset, e.info.Size()), f, e.info}, nil
}

type openTarFile struct {
	io.Reader
	io.Closer
	info fs.FileInfo
}

func (f *openTarFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// findInDockerArchive reads what `docker save` makes. Such an archive holds no
// manifest; one is made.
func findInDockerArchive(s Source) (node, error) {
	var tag *name.Tag
	if s.Select != "" {
		t, err := name.NewTag(s.Select, name.WeakValidation)
		if err != nil {
			return node{}, err
		}
		tag = &t
	}
	img, err := tarball.ImageFromPath(filepath.Clean(s.Path), tag)
	if err != nil {
		return node{}, fmt.Errorf("it is no archive of one image: %w", err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		return node{}, err
	}
	d, err := partial.Descriptor(img)
	if err != nil {
		return node{}, err
	}
	return node{*d, raw, archive{img}}, nil
}

// archive is an image that something else reads.
type archive struct{ img v1.Image }

func (a archive) manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	raw, err := a.img.RawManifest()
	if err != nil {
		return nil, err
	}
	return raw, verify(d, raw)
}

func (a archive) blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if conf, err := a.img.ConfigName(); err == nil && conf == d.Digest {
		b, err := a.img.RawConfigFile()
		return io.NopCloser(bytes.NewReader(b)), err
	}
	l, err := a.img.LayerByDigest(d.Digest)
	if err != nil {
		return nil, err
	}
	return l.Compressed()
}

func (archive) referrers(context.Context, v1.Descriptor) ([]v1.Descriptor, error) { return nil, nil }
func (archive) repository() string                                                { return "" }
