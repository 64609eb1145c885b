package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeLayout makes a layout with an index for two platforms, called "v1", and an image called "single".
func writeLayout(t testing.TB) (dir string, index, single v1.Hash) {
	t.Helper()
	dir = t.TempDir()
	image := func(arch string) v1.Image {
		img, err := random.Image(1000, 2)
		check(t, err)
		cfg, err := img.ConfigFile()
		check(t, err)
		cfg.OS, cfg.Architecture = "linux", arch
		img, err = mutate.ConfigFile(img, cfg)
		check(t, err)
		return img
	}
	p, err := layout.Write(dir, empty.Index)
	check(t, err)
	add := func(arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: image(arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	idx := mutate.AppendManifests(empty.Index, add("amd64"), add("arm64"))
	name := func(s string) layout.Option {
		return layout.WithAnnotations(map[string]string{ocispecs.AnnotationRefName: s})
	}
	check(t, p.AppendIndex(idx, name("v1")))
	one := image("s390x")
	check(t, p.AppendImage(one, name("docker.io/library/x:single")))
	index, err = idx.Digest()
	check(t, err)
	single, err = one.Digest()
	check(t, err)
	return dir, index, single
}

func TestOCILayout(t *testing.T) {
	dir, index, single := writeLayout(t)
	for _, c := range []struct {
		ref, arch string
		root      v1.Hash
	}{
		{"v1", "arm64", index},
		{"anything:v1", "amd64", index},
		{"name@" + index.String(), "amd64", index},
		{index.String(), "arm64", index},
		{"x@" + single.String(), "s390x", single},
		{"docker.io/library/x:single", "s390x", single},
	} {
		img, err := OCILayout(t.Context(), dir, c.ref, &ocispecs.Platform{OS: "linux", Architecture: c.arch})
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		if img.Root.Digest != c.root || img.Platform.Architecture != c.arch || len(img.Layers) != 2 || img.Root.MediaType == "" {
			t.Errorf("%s: %+v", c.ref, img)
		}
		for i, b := range img.Layers {
			r, err := b.Open()
			check(t, err)
			data, err := io.ReadAll(r)
			check(t, err)
			check(t, r.Close())
			if int64(len(data)) != b.Size || b.DiffID != img.Config.RootFS.DiffIDs[i] {
				t.Errorf("%s: layer %d: %+v", c.ref, i, b)
			}
		}
	}
}

func TestOCILayoutFailures(t *testing.T) {
	dir, index, _ := writeLayout(t)
	zero := "sha256:" + strings.Repeat("0", 64)
	for ref, want := range map[string]string{
		"":                                    "2 images",
		"v2":                                  `none of that name but ["docker.io/library/x:single" "v1"]`,
		"x@" + zero:                           "no such file",
		"x@sha256:../../../etc/passwd":        "digest",
		"x@sha256:" + strings.Repeat("A", 64): "digest",
		"x@md5:" + strings.Repeat("0", 32):    "digest",
		"x@" + index.String():                 "no image for linux/riscv64, only for linux/amd64, linux/arm64",
	} {
		_, err := OCILayout(t.Context(), dir, ref, &ocispecs.Platform{OS: "linux", Architecture: "riscv64"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q: %v", ref, want, err)
		}
	}
	if _, err := OCILayout(t.Context(), t.TempDir(), "v1", nil); err == nil || !strings.Contains(err.Error(), "oci-layout") {
		t.Errorf("empty directory: %v", err)
	}
}

func TestOCILayoutTampered(t *testing.T) {
	amd64 := &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	blob := func(dir string, h v1.Hash) string { return filepath.Join(dir, "blobs", h.Algorithm, h.Hex) }
	for name, tamper := range map[string]func(p string){
		"changed": func(p string) {
			data, err := os.ReadFile(p)
			check(t, err)
			data[len(data)/2] ^= 1
			check(t, os.WriteFile(p, data, 0o644))
		},
		"shortened": func(p string) { check(t, os.Truncate(p, 100)) },
		"symlink": func(p string) {
			check(t, os.Rename(p, p+".real"))
			check(t, os.Symlink(p+".real", p))
		},
		"directory": func(p string) { check(t, os.Remove(p)); check(t, os.Mkdir(p, 0o755)) },
	} {
		dir, index, _ := writeLayout(t)
		img, err := OCILayout(t.Context(), dir, "v1", amd64)
		check(t, err)
		tamper(blob(dir, img.Layers[1].Digest))
		r, err := img.Layers[1].Open()
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if _, ok := errors.AsType[*ChecksumError](err); err == nil || name == "changed" && !ok {
			t.Errorf("%s layer: %v", name, err)
		}
		tamper(blob(dir, index))
		if _, err := OCILayout(t.Context(), dir, index.String(), amd64); err == nil {
			t.Errorf("%s index: no error", name)
		}
	}
}

func TestOCILayoutDocuments(t *testing.T) {
	dir, _, _ := writeLayout(t)
	for _, c := range []struct{ doc, want string }{
		{`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"layers":[]}`, "or both"},
		{`{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}`, "is not one"},
		{`{"schemaVersion":2,"manifests":[]}`, "no image for"},
		{`{"schemaVersion":2,"config":{"mediaType":"application/vnd.foo","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1},"layers":[]}`, "no image"},
		{`hello`, "neither"},
		{`{}`, "neither"},
	} {
		h, _, err := v1.SHA256(strings.NewReader(c.doc))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", h.Hex), []byte(c.doc), 0o644))
		if _, err := OCILayout(t.Context(), dir, fmt.Sprintf("x@%s", h), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q: %v", c.doc, c.want, err)
		}
	}
}
