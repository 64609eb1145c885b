package warmed

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/store"
)

// kaniko finds what kaniko's warmer has left for a manifest; nil for nothing. Its
// newer versions make an OCI layout of each image, named by the digest; the older
// ones an archive of `docker save` with the manifest beside it. Neither verifies
// anything; we do.
func kaniko(dir string, manifest v1.Hash) shelf {
	if manifest.Algorithm != "sha256" {
		return nil
	}
	path := filepath.Join(dir, manifest.String())
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil
	case fi.IsDir():
		s, err := store.Open(path, store.Options{ReadOnly: true})
		if err != nil {
			return nil
		}
		return &shelfOf{s}
	case fi.Mode().IsRegular():
		return &archive{path: path, manifest: manifest}
	}
	return nil
}

// archive is an image in an archive of `docker save` beside its manifest.
type archive struct {
	path     string
	manifest v1.Hash

	once    sync.Once
	entries map[string]stretch
	config  string
	err     error
}

type stretch struct{ off, n int64 }

// open lists what the archive has.
func (a *archive) open() error {
	a.once.Do(func() {
		if a.entries, a.err = a.list(); a.err != nil {
			return
		}
		var m []struct{ Config string }
		raw, err := a.read("manifest.json")
		if err == nil {
			err = json.Unmarshal(raw, &m)
		}
		if err != nil || len(m) != 1 {
			a.err = fmt.Errorf("archive %s: manifest.json: %w", a.path, errors.Join(err, fs.ErrNotExist))
			return
		}
		a.config = m[0].Config
	})
	return a.err
}

func (a *archive) list() (map[string]stretch, error) {
	f, err := a.file()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := make(map[string]stretch)
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w: %w", a.path, store.ErrIntegrity, err)
		}
		off, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			out[h.Name] = stretch{off, h.Size}
		}
	}
}

func (a *archive) file() (*os.File, error) {
	return os.OpenFile(a.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func (a *archive) read(name string) ([]byte, error) {
	r, err := a.section(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if len(b) > maxDocument {
		return nil, fmt.Errorf("archive %s: %s is too long", a.path, name)
	}
	return b, err
}

type section struct {
	*io.SectionReader
	io.Closer
}

func (a *archive) section(name string) (io.ReadCloser, error) {
	e, ok := a.entries[name]
	if !ok {
		return nil, fmt.Errorf("archive %s has no %s: %w", a.path, name, fs.ErrNotExist)
	}
	f, err := a.file()
	if err != nil {
		return nil, err
	}
	return section{io.NewSectionReader(f, e.off, e.n), f}, nil
}

// Document gives the manifest, which lies beside, or the config.
func (a *archive) Document(_ context.Context, d v1.Descriptor) ([]byte, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	var b []byte
	var err error
	if d.Digest == a.manifest {
		b, err = os.ReadFile(a.path + ".json")
	} else {
		b, err = a.read(a.config)
	}
	if err != nil {
		return nil, err
	}
	if got, _, err := v1.SHA256(strings.NewReader(string(b))); err != nil || got != d.Digest {
		return nil, fmt.Errorf("archive %s: %w: got %s, want %s", a.path, store.ErrIntegrity, got, d.Digest)
	}
	return b, nil
}

func layerName(d v1.Descriptor) string { return d.Digest.Hex + ".tar.gz" }

func (a *archive) has(d v1.Descriptor) bool {
	if a.open() != nil {
		return false
	}
	e, ok := a.entries[layerName(d)]
	return ok && e.n == d.Size
}

func (a *archive) Blob(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	r, err := a.section(layerName(d))
	if err != nil {
		return nil, err
	}
	return store.Verify(r, d)
}

func (a *archive) checked(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	r, err := a.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	return a.Blob(ctx, d)
}
