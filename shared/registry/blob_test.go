package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// bigLayer pushes an image with one layer of some megabytes, and resolves it.
func bigLayer(t *testing.T, o registry.Options) (*registrytest.Server, registry.Layer, []byte) {
	t.Helper()
	s := registrytest.New(t)
	l, err := random.Layer(3<<20, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(registrytest.Image(t, "linux/amd64"), l)
	if err != nil {
		t.Fatal(err)
	}
	s.Push(t, "big:1", img)
	got, err := client(t, o).Image(t.Context(), s.Ref("big:1"), platform("linux/amd64"))
	if err != nil {
		t.Fatal(err)
	}
	s.Forget()
	return s, got.Layers[2], compressed(t, l)
}

func TestBlobResumes(t *testing.T) {
	for name, f := range map[string]registrytest.Fault{
		"reset at once":       {Reset: true, ResetAt: 0, Times: 1},
		"reset in the middle": {Reset: true, ResetAt: 1 << 20, Times: 2},
		"reset before last":   {Reset: true, ResetAt: 3 << 20, Times: 1},
		"busy":                {Status: 503, Times: 2},
		"no answer":           {Lose: true, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, l, want := bigLayer(t, registry.Options{})
			f.Path = "/blobs/"
			s.Fail(f)
			if got, err := readAll(t.Context(), l); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
			}
		})
	}
}

func TestBlobAsksForTheRestOnly(t *testing.T) {
	s, l, want := bigLayer(t, registry.Options{})
	s.Fail(registrytest.Fault{Path: "/blobs/", Reset: true, ResetAt: 1 << 20, Times: 1})
	if got := read(t, l); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
	rs := s.Requests()
	if len(rs) != 2 || !strings.HasPrefix(rs[1].Header.Get("Range"), "bytes=1048576-") {
		t.Errorf("asked %v", rs)
	}
}

func TestBlobWithoutRanges(t *testing.T) {
	s, l, want := bigLayer(t, registry.Options{})
	s.Fail(registrytest.Fault{Path: "/blobs/", Reset: true, ResetAt: 1 << 20, Times: 1})
	s.Fail(registrytest.Fault{Path: "/blobs/", NoRanges: true})
	if got, err := readAll(t.Context(), l); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
}

func TestBlobGivesUp(t *testing.T) {
	s, l, _ := bigLayer(t, registry.Options{Retries: 2})
	s.Fail(registrytest.Fault{Path: "/blobs/", Reset: true, ResetAt: 100})
	_, err := readAll(t.Context(), l)
	if !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "at byte 300 of") {
		t.Error(err)
	}
	if n := s.Count("GET", "/blobs/"); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// With LayerRetries, a layer that breaks off more often than Retries allows still comes.
func TestLayerRetries(t *testing.T) {
	for retries, ok := range map[int]bool{0: false, 3: true} {
		s, l, want := bigLayer(t, registry.Options{Retries: 1, LayerRetries: retries})
		s.Fail(registrytest.Fault{Path: "/blobs/", Reset: true, ResetAt: 100, Times: 3})
		if got, err := readAll(t.Context(), l); ok != (err == nil && bytes.Equal(got, want)) {
			t.Errorf("%d more retries: %d of %d bytes, %v", retries, len(got), len(want), err)
		}
	}
}

func TestBlobStalls(t *testing.T) {
	s, l, want := bigLayer(t, registry.Options{})
	s.Fail(registrytest.Fault{Path: "/blobs/", Stall: true, ResetAt: 1 << 20, Times: 1})
	begin := time.Now()
	if got, err := readAll(t.Context(), l); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestBlobIsCompared(t *testing.T) {
	for name, alter := range map[string]func([]byte) []byte{
		"one bit":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"shorter":   func(b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(b []byte) []byte { return append(b, 0) },
		"something": func([]byte) []byte { return []byte("<html>") },
	} {
		s, l, want := bigLayer(t, registry.Options{})
		s.Fail(registrytest.Fault{Path: "/blobs/", Alter: alter})
		got, err := readAll(t.Context(), l)
		if !errors.Is(err, registry.ErrIntegrity) {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(want), err)
		}
		if err != nil && !strings.Contains(err.Error(), l.Descriptor.Digest.String()) {
			t.Errorf("%s: no digest in %v", name, err)
		}
	}
}

func TestBlobEnds(t *testing.T) {
	s, l, _ := bigLayer(t, registry.Options{})
	s.Fail(registrytest.Fault{Path: "/blobs/", Stall: true, ResetAt: 10})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := l.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	r.Close()

	s.Heal()
	if r, err = l.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after close: %v", err)
	}
}

func TestEmptyBlob(t *testing.T) {
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "x:good", img)
	empty := v1.Hash{Algorithm: "sha256", Hex: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	c := client(t, registry.Options{})
	p, err := c.Pusher(s.Ref("x:1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Upload(t.Context(), blob{digest: empty}); err != nil {
		t.Fatal(err)
	}
	m, _ := img.Manifest()
	m = m.DeepCopy()
	m.Layers[0].Digest, m.Layers[0].Size = empty, 0
	s.PutManifest(t, "x:1", string(m.MediaType), marshal(t, m))
	got, err := c.Image(t.Context(), s.Ref("x:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b := read(t, got.Layers[0]); len(b) != 0 {
		t.Errorf("%d bytes", len(b))
	}
}
