package source

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// all reads a document and compares it with its digest.
func (l *layoutDir) all(d v1.Descriptor) ([]byte, error) {
	r, err := l.blob(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.left > maxDocument {
		return nil, fmt.Errorf("read %s: %d bytes: more than the limit of %d", d.Digest, r.left, maxDocument)
	}
	return io.ReadAll(r)
}

// blob opens a blob. Its reader fails at the end when the content is not what
// the descriptor promises; a size below zero promises none.
func (l *layoutDir) blob(d v1.Descriptor) (*verified, error) {
	// A descriptor's digest was parsed, unless somebody left it out.
	if _, err := v1.NewHash(d.Digest.String()); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	h, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	f, size, err := l.file("blobs/" + d.Digest.Algorithm + "/" + d.Digest.Hex)
	if err != nil {
		return nil, err
	}
	if d.Size >= 0 && d.Size != size {
		_ = f.Close()
		return nil, fmt.Errorf("read %s: %d bytes, but its descriptor says %d", d.Digest, size, d.Size)
	}
	return &verified{f: f, h: h, want: d.Digest, left: size}, nil
}

// verified reads a blob and compares it with its digest.
type verified struct {
	f    *os.File
	h    hash.Hash
	want v1.Hash
	left int64
}

func (r *verified) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.h.Write(p[:n])
	r.left -= int64(n)
	if r.left < 0 {
		return 0, fmt.Errorf("read %s: it grew meanwhile", r.want)
	}
	if err == io.EOF {
		if got := hex.EncodeToString(r.h.Sum(nil)); got != r.want.Hex {
			return n, &ChecksumError{Name: r.f.Name(), Want: r.want.String(), Got: r.want.Algorithm + ":" + got}
		}
	}
	return n, err
}

func (r *verified) Close() error { return r.f.Close() }
