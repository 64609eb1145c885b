package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// file is a blob of an artifact, to be opened when its turn comes.
type file struct {
	digest v1.Hash
	size   int64
	open   func() (io.ReadCloser, error)
}

// path is where a blob is in an OCI layout.
func (f file) path() string { return "blobs/" + f.digest.Algorithm + "/" + f.digest.Hex }

// copyTo writes the blob to w. A cancelled ctx ends it between two reads.
func (f file) copyTo(ctx context.Context, w io.Writer) (err error) {
	r, err := f.open()
	if err != nil {
		return fmt.Errorf("open blob %s: %w", f.digest, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close blob %s: %w", f.digest, cerr)
		}
	}()
	n, err := io.Copy(w, &reader{ctx, r})
	if err != nil {
		return fmt.Errorf("copy blob %s: %w", f.digest, err)
	}
	if n != f.size {
		return fmt.Errorf("copy blob %s: %d bytes where %d were promised", f.digest, n, f.size)
	}
	return nil
}

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// files lists the blobs of artifacts, each once: what names others comes before
// what it names.
func files(all ...Artifact) ([]file, error) {
	var l lister
	for _, a := range all {
		if err := l.artifact(a); err != nil {
			return nil, err
		}
	}
	return l.files, nil
}

type lister struct {
	files []file
	seen  map[v1.Hash]bool
}

func (l *lister) add(f file) {
	if l.seen == nil {
		l.seen = map[v1.Hash]bool{}
	}
	if !l.seen[f.digest] {
		l.seen[f.digest] = true
		l.files = append(l.files, f)
	}
}

func (l *lister) addBytes(digest v1.Hash, b []byte) {
	l.add(file{digest, int64(len(b)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
}

func (l *lister) artifact(a Artifact) error {
	digest, err := a.Digest()
	if err != nil {
		return fmt.Errorf("digest image: %w", err)
	}
	raw, err := a.RawManifest()
	if err != nil {
		return fmt.Errorf("manifest %s: %w", digest, err)
	}
	l.addBytes(digest, raw)
	switch a := a.(type) {
	case v1.Image:
		err = l.image(a)
	case v1.ImageIndex:
		err = l.index(a)
	default:
		err = errors.New("neither an image nor an index")
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", digest, err)
	}
	return nil
}

func (l *lister) image(img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	l.addBytes(m.Config.Digest, config)
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for i, d := range m.Layers {
		l.add(file{d.Digest, d.Size, layers[i].Compressed})
	}
	return nil
}

func (l *lister) index(idx v1.ImageIndex) error {
	children, err := childrenOf(idx)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := l.artifact(c); err != nil {
			return err
		}
	}
	return nil
}

func childrenOf(idx v1.ImageIndex) ([]Artifact, error) {
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	var out []Artifact
	for _, d := range m.Manifests {
		var a Artifact
		if d.MediaType.IsIndex() {
			a, err = idx.ImageIndex(d.Digest)
		} else {
			a, err = idx.Image(d.Digest)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
