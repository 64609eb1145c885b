package export

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
)

// blob is a gzip layer with one file.
func blob(t *testing.T, file string) *layer.Blob {
	t.Helper()
	var plain, packed bytes.Buffer
	tw := tar.NewWriter(&plain)
	if err := tw.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(file)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(tw, file)
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(&packed)
	zw.Write(plain.Bytes())
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	diffID, _, _ := v1.SHA256(bytes.NewReader(plain.Bytes()))
	digest, size, _ := v1.SHA256(bytes.NewReader(packed.Bytes()))
	return &layer.Blob{
		Digest: digest, Size: size, DiffID: diffID, MediaType: types.OCILayer, Created: time.Unix(1_700_000_000, 0),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil },
	}
}

func newImage(t *testing.T, arch string, blobs ...*layer.Blob) v1.Image {
	t.Helper()
	img, err := image.New(image.Spec{
		Config: []byte(`{"os":"linux","architecture":"` + arch + `","config":{"Env":["A=b"]},"history":[{"created_by":"RUN x"}]}`),
		Layers: blobs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func newIndex(t *testing.T, images ...v1.Image) v1.ImageIndex {
	t.Helper()
	var ps []image.Platformed
	for _, img := range images {
		ps = append(ps, image.Platformed{Image: img})
	}
	idx, err := image.Index(ps, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return idx
}

func destination(t *testing.T, s string) Destination {
	t.Helper()
	d, err := ParseDestination(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func quiet() ggcr.Option { return ggcr.Logger(log.New(io.Discard, "", 0)) }

// serve runs a registry and gives its host. Its blobs are on disk.
func serve(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(ggcr.New(quiet(), ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(t.TempDir()))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func client(t *testing.T) *registry.Client {
	t.Helper()
	c, err := registry.New(registry.Options{Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func target(t *testing.T, c *registry.Client, s string) Target {
	t.Helper()
	p, err := c.Pusher(s)
	if err != nil {
		t.Fatal(err)
	}
	return Target{destination(t, s), p}
}

func digestOf(t *testing.T, a Artifact) v1.Hash {
	t.Helper()
	h, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// place is an Exporter and a way to read back what it wrote.
type place struct {
	Exporter
	read func(digest v1.Hash) (Artifact, error)
}

func places(t *testing.T) map[string]place {
	dir := t.TempDir()
	host := serve(t)
	oci := filepath.Join(dir, "oci")
	archive := filepath.Join(dir, "deep", "image.tar")
	names := []Destination{destination(t, "reg.example/a/b:v1")}
	return map[string]place{
		"push": {&Push{Targets: []Target{target(t, client(t), host+"/a/b:v1")}}, func(v1.Hash) (Artifact, error) {
			ref, err := name.ParseReference(host + "/a/b:v1")
			if err != nil {
				return nil, err
			}
			d, err := remote.Get(ref)
			if err != nil {
				return nil, err
			}
			if d.MediaType.IsIndex() {
				return d.ImageIndex()
			}
			return d.Image()
		}},
		"layout": {&Layout{Path: oci, Names: names}, func(h v1.Hash) (Artifact, error) { return readLayout(oci, h) }},
		"tar as layout": {&Tar{Path: archive, Names: names}, func(h v1.Hash) (Artifact, error) {
			out := filepath.Join(dir, "untarred")
			return readLayout(out, h, untar(archive, out))
		}},
	}
}

func readLayout(path string, h v1.Hash, errs ...error) (Artifact, error) {
	idx, err := layout.ImageIndexFromPath(path)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	if d := m.Manifests[0]; len(m.Manifests) != 1 || d.Digest != h || d.Annotations[annotationRefName] != "v1" || d.Annotations[annotationContainerdRef] != "reg.example/a/b:v1" {
		return nil, errors.New("index.json is wrong")
	}
	if m.Manifests[0].MediaType.IsIndex() {
		return idx.ImageIndex(h)
	}
	return idx.Image(h)
}

func untar(path, to string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p := filepath.Join(to, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(p, 0o755)
		} else {
			var b []byte
			if b, err = io.ReadAll(tr); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, b, 0o644))
			}
		}
		if err != nil {
			return err
		}
	}
}

func TestEveryPlaceGivesBackWhatItGot(t *testing.T) {
	base, same := blob(t, "base"), blob(t, "same")
	img := newImage(t, "amd64", base, same, same)
	idx := newIndex(t, img, newImage(t, "arm64", base))
	for what, p := range places(t) {
		t.Run(what, func(t *testing.T) {
			for range 2 { // a second time changes nothing
				if err := p.Export(t.Context(), img); err != nil {
					t.Fatal(err)
				}
				got, err := p.read(digestOf(t, img))
				if err != nil {
					t.Fatal(err)
				}
				if err := validate.Image(got.(v1.Image)); err != nil {
					t.Error(err)
				}
				if digestOf(t, got) != digestOf(t, img) {
					t.Error("digest changed")
				}
			}
			err := p.Export(t.Context(), idx)
			if strings.HasPrefix(what, "tar") {
				if err == nil || !strings.Contains(err.Error(), "the build made 2") {
					t.Errorf("index: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.read(digestOf(t, idx))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(got.(v1.ImageIndex)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryPlaceStopsWhenCancelled(t *testing.T) {
	img := newImage(t, "amd64", blob(t, "x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, p := range places(t) {
		if err := p.Export(ctx, img); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFilesOnlyAfterSuccess(t *testing.T) {
	dir := t.TempDir()
	img := newImage(t, "amd64", blob(t, "x"))
	digest := filepath.Join(dir, "digest")
	good := &Tar{Path: filepath.Join(dir, "good.tar")}
	bad := &Tar{Path: dir} // a directory
	err := Export(t.Context(), img, []Exporter{bad, good}, &Files{Digest: digest})
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(digest); err == nil {
		t.Error("digest file after a failure")
	}
	if _, err := tarball.ImageFromPath(good.Path, nil); err != nil {
		t.Errorf("the other way was not gone: %v", err)
	}
	if err := Export(t.Context(), img, []Exporter{good}, &Files{Digest: digest}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(digest); string(b) != digestOf(t, img).String() {
		t.Errorf("digest file: %q", b)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// hugeBlob is an uncompressed layer of one file of zeros, made while it is read.
func hugeBlob(t *testing.T, size int64) *layer.Blob {
	t.Helper()
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			tw := tar.NewWriter(w)
			err := tw.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size, Typeflag: tar.TypeReg})
			if err == nil {
				_, err = io.CopyN(tw, zeros{}, size)
			}
			w.CloseWithError(errors.Join(err, tw.Close()))
		}()
		return r, nil
	}
	r, _ := open()
	digest, n, err := v1.SHA256(r)
	if err != nil {
		t.Fatal(err)
	}
	return &layer.Blob{Digest: digest, DiffID: digest, Size: n, MediaType: types.OCIUncompressedLayer, Open: open}
}

func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 900 MB")
	}
	img := newImage(t, "amd64", hugeBlob(t, 300<<20))
	ways := []Exporter{
		&Push{Targets: []Target{target(t, client(t), serve(t)+"/huge:v1")}},
		&Tar{Path: filepath.Join(t.TempDir(), "huge.tar")},
		&Layout{Path: t.TempDir()},
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan error, 1)
	go func() { done <- Export(t.Context(), img, ways, nil) }()
	var peak uint64
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("heap: %d MB more at most", peak>>20)
			if peak > 40<<20 {
				t.Errorf("heap grew by %d MB", peak>>20)
			}
			return
		case <-time.After(5 * time.Millisecond):
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > before.HeapAlloc {
				peak = max(peak, m.HeapAlloc-before.HeapAlloc)
			}
		}
	}
}
