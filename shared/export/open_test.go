package export_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/strake-build/strake/shared/export"
)

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(2000, 3)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// What was saved is opened with the same digest, whole.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	img := randomImage(t)
	index, err := random.Index(500, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	save := func(e export.Exporter, a export.Artifact) {
		t.Helper()
		if err := e.Export(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	one, _ := export.ParseDestination("a/b:1")
	two, _ := export.ParseDestination("a/b:2")
	names := []export.Destination{one, two}
	save(&export.Tar{Path: at("image.tar"), Names: names}, img)
	save(&export.Layout{Path: at("layout"), Names: names}, img)
	save(&export.Layout{Path: at("index")}, index)
	for file, want := range map[string]export.Artifact{"image.tar": img, "layout": img, "index": index} {
		a, closer, err := export.Open(at(file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got, err1 := a.Digest()
		digest, err2 := want.Digest()
		if err1 != nil || err2 != nil || got != digest {
			t.Errorf("%s: %s, want %s (%v, %v)", file, got, digest, err1, err2)
		}
		if i, ok := a.(v1.Image); ok {
			if err := validate.Image(i); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An archive of docker save as it was before Docker 25.
func TestOpenOldArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.tar")
	img := randomImage(t)
	if err := tarball.WriteToFile(path, name.MustParseReference("a/b:1"), img); err != nil {
		t.Fatal(err)
	}
	a, closer, err := export.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	got, ok := a.(v1.Image)
	if !ok {
		t.Fatalf("a %T", a)
	}
	want, _ := img.ConfigName()
	if name, err := got.ConfigName(); err != nil || name != want {
		t.Errorf("config %s (%v), want %s", name, err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	img := randomImage(t)
	good := filepath.Join(dir, "good.tar")
	if err := (&export.Tar{Path: good}).Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	manifest, _ := img.Digest()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer, _ := layers[0].Digest()
	two := filepath.Join(dir, "two")
	l, err := layout.Write(two, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img}, mutate.IndexAddendum{Add: randomImage(t)}))
	if err != nil {
		t.Fatal(l, err)
	}
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "no such file"},
		{write("text", []byte("no archive at all")), "read archive"},
		{write("empty.tar", make([]byte, 1024)), "neither an OCI layout nor of docker save"},
		{write("short.tar", raw[:len(raw)/2]), "not a tar: unexpected EOF"},
		{write("nolayer.tar", edit(t, raw, layer.Hex, nil)), "layer " + layer.String() + " is missing or cut short"},
		{write("nomanifest.tar", edit(t, raw, manifest.Hex, nil)), "is missing"},
		{write("lie.tar", edit(t, raw, manifest.Hex, func([]byte) []byte { return []byte("{}") })), "holds sha256:"},
		{write("index.tar", edit(t, raw, "index.json", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("image.manifest.v1"), []byte("image.index.v1"))
		})), ""},
		{two, "want one image, there are 2"},
		{dir, "read OCI layout"},
	} {
		a, closer, err := export.Open(tt.path)
		if err == nil && tt.want != "" {
			t.Errorf("%s: opened, a %T", tt.path, a)
			closer.Close()
			continue
		}
		if err == nil {
			closer.Close()
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.path, err, tt.want)
		}
	}
}

// edit changes one file of an archive, or leaves it out.
func edit(t *testing.T, raw []byte, part string, change func([]byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(h.Name, part) {
			if change == nil {
				continue
			}
			b = change(b)
			h.Size = int64(len(b))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
