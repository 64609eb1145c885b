package release_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/integration/loopback"
	"github.com/strake-build/strake/integration/release"
	"github.com/strake-build/strake/integration/testkit"
)

func TestMain(m *testing.M) {
	release.Main()
	os.Exit(m.Run())
}

// program is one of strake's, compiled from the source unless the environment names a finished one.
func program(t *testing.T, dir, of string) string {
	t.Helper()
	if p := os.Getenv("STRAKE_" + strings.ToUpper(of)); p != "" {
		return p
	}
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, of)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", out, "./"+of)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return out
}

// TestPipeline runs the whole, and looks at what is in the registry afterwards.
func TestPipeline(t *testing.T) {
	dir := t.TempDir()
	store, err := loopback.OpenStore(filepath.Join(dir, "registry"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := loopback.Listen(context.Background(), 0, &loopback.Handler{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	p := &release.Pipeline{
		Executor: program(t, dir, "executor"), Manifest: program(t, dir, "manifest"), Dir: filepath.Join(dir, "work"),
		Store: filepath.Join(dir, "registry"), Port: srv.Port(), Quiet: true,
	}
	ref, err := p.Run(t.Context())
	if errors.Is(err, release.ErrNoNamespace) && os.Getuid() != 0 {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	idx := index(t, srv.Addr+"/demo/hello:1.0")
	if d, err := idx.Digest(); err != nil || !strings.HasSuffix(ref, d.String()) {
		t.Errorf("the tag names %s (%v), printed was %s", d, err, ref)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		platforms = append(platforms, d.Platform.String())
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) || m.Annotations["org.opencontainers.image.revision"] != "0123abc" {
		t.Errorf("platforms %v, annotations %v", platforms, m.Annotations)
	}
	// What was built from it stands on its image for arm64.
	next, err := remote.Image(parse(t, srv.Addr+"/demo/hello-next:1.0"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := idx.Image(m.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := diffIDs(t, base), diffIDs(t, next); len(b) != len(a)+1 || !slices.Equal(a, b[:len(a)]) {
		t.Errorf("layers %v, of which the base has %v", b, a)
	}
	for i, arch := range release.Arches() {
		t.Run("RUN for "+arch, func(t *testing.T) {
			how, err := release.Emulation(arch)
			if errors.Is(err, release.ErrNoEmulation) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("emulated in: %q", how)
			img, err := idx.Image(m.Manifests[i].Digest)
			if err != nil {
				t.Fatal(err)
			}
			if got := file(t, img, release.BuiltOn); got != "hello from "+arch+"\n" {
				t.Errorf("%s says %q", release.BuiltOn, got)
			}
		})
	}
}

// file reads a file of an image.
func file(t *testing.T, img v1.Image, name string) string {
	t.Helper()
	r := mutate.Extract(img)
	defer r.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.TrimPrefix(h.Name, "/") == strings.TrimPrefix(name, "/") {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
}

func parse(t *testing.T, s string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(s, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func index(t *testing.T, s string) v1.ImageIndex {
	t.Helper()
	idx, err := remote.Index(parse(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return idx
}

func diffIDs(t *testing.T, img v1.Image) (all []string) {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.RootFS.DiffIDs {
		all = append(all, fmt.Sprint(d))
	}
	return all
}
