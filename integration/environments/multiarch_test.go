package environments

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

// machines are what programs of the platforms are for.
var machines = map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}

// programs are what an image has of strake's own and of others', by the image's name.
var programs = map[string][]string{
	"executor":       {"kaniko/executor"},
	"executor-debug": {"kaniko/executor", "kaniko/warmer", "busybox/busybox"},
	"warmer":         {"kaniko/warmer"},
	"manifest":       {"kaniko/manifest"},
}

// TestImagesOfSeveralPlatforms builds the official images for two platforms, twice, into layouts and into a registry.
func TestImagesOfSeveralPlatforms(t *testing.T) {
	if _, err := bed.Layouts(); err != nil { // and with them the programs for this machine
		t.Fatal(err)
	}
	platforms := []string{"linux/amd64", "linux/arm64"}
	bin := programsFor(t, platforms)
	first, second := t.TempDir(), t.TempDir()
	if err := BuildImages(t.Context(), bin, first, platforms); err != nil {
		t.Fatal(err)
	}
	key := signingKey(t, bin)
	to := bed.Kit.Registry + "/official/%:1"
	err := BuildImages(t.Context(), bin, second, platforms, "--destination", to, "--", "--insecure", "--sign", "--key", key)
	if err != nil {
		t.Fatal(err)
	}
	for image, files := range programs {
		t.Run(image, func(t *testing.T) {
			checkPlatforms(t, filepath.Join(first, image), platforms, files)
			want := rootDigest(t, filepath.Join(first, image))
			ref, err := name.ParseReference(strings.ReplaceAll(to, "%", image), name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			pushed, err := remote.Get(ref)
			if err != nil {
				t.Fatal(err)
			}
			if again := rootDigest(t, filepath.Join(second, image)); again != want || pushed.Digest != want {
				t.Errorf("%s the first time, %s the second, pushed as %s", want, again, pushed.Digest)
			}
			sameFiles(t, filepath.Join(first, image), filepath.Join(second, image))
			verify := exec.CommandContext(t.Context(), filepath.Join(bin, "manifest"), "verify", "--insecure", "--key", strings.Replace(key, ".key", ".pub", 1), "-r", ref.Name())
			if out, err := verify.CombinedOutput(); err != nil {
				t.Errorf("verify the signatures: %v\n%s", err, out)
			}
			told(t, ref)
		})
	}
}

// programsFor is a directory of programs for the platforms: this machine's are those that are tested.
func programsFor(t *testing.T, platforms []string) string {
	t.Helper()
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, platform := range platforms {
		arch := strings.TrimPrefix(platform, "linux/")
		to := filepath.Join(dir, "linux-"+arch)
		if arch == runtime.GOARCH {
			for _, at := range []string{dir, to} {
				if err := os.CopyFS(at, os.DirFS(filepath.Join(bed.dir, "bin"))); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		if err := os.Mkdir(to, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"executor", "warmer", "manifest"} {
			source := "./" + program
			if !*cross {
				source = "./integration/environments/testdata/standin"
			}
			build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(to, program), source)
			build.Dir = root
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build %s for %s: %v\n%s", program, platform, err, out)
			}
		}
	}
	return dir
}

// signingKey makes a pair of keys and returns the private one's file.
func signingKey(t *testing.T, bin string) string {
	t.Helper()
	t.Setenv("COSIGN_PASSWORD", "")
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "manifest"), "generate-key-pair")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make keys: %v\n%s", err, out)
	}
	return filepath.Join(dir, "cosign.key")
}

// checkPlatforms looks whether an index has an image for each platform, whose config and programs are for it.
func checkPlatforms(t *testing.T, dir string, platforms, files []string) {
	t.Helper()
	images, err := imagetree.FromLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, img := range images {
		platform := strings.TrimSuffix(img.Platform, "/v8")
		have = append(have, platform)
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.OS + "/" + config.Architecture; got != platform {
			t.Errorf("the image for %s has a config for %s", platform, got)
		}
		if got := config.Config.Labels["org.opencontainers.image.revision"]; got != "tested" {
			t.Errorf("the image for %s is of revision %q", platform, got)
		}
		for _, label := range []string{"title", "description", "source", "licenses"} {
			if config.Config.Labels["org.opencontainers.image."+label] == "" {
				t.Errorf("the image for %s has no label %s", platform, label)
			}
		}
		for _, file := range files {
			program := content(t, img, file)
			f, err := elf.NewFile(bytes.NewReader(program))
			if err != nil {
				t.Fatalf("%s for %s: %v", file, platform, err)
			}
			if f.Machine != machines[platform] {
				t.Errorf("%s for %s is for %s", file, platform, f.Machine)
			}
			if *cross && strings.HasPrefix(file, "kaniko/") {
				starts(t, platform, program)
			}
		}
	}
	if !slices.Equal(have, platforms) {
		t.Errorf("the index has %v, want %v", have, platforms)
	}
}

// starts runs a program, of another platform where qemu can.
func starts(t *testing.T, platform string, program []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	argv := []string{file, "version"}
	if platform != "linux/"+runtime.GOARCH {
		qemu, err := exec.LookPath("qemu-aarch64-static")
		if err != nil {
			t.Logf("not started: %v", err)
			return
		}
		argv = append([]string{qemu}, argv...)
	}
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), platform) {
		t.Errorf("version of the program for %s: %v\n%s", platform, err, out)
	}
}

// content is a file of an image.
func content(t *testing.T, img v1.Image, file string) []byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range slices.Backward(layers) {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for tr := tar.NewReader(r); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if h.Name == file {
				b, err := io.ReadAll(tr)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
		}
	}
	t.Fatalf("the image has no %s", file)
	return nil
}

// rootDigest is the digest of the index that a layout holds.
func rootDigest(t *testing.T, dir string) v1.Hash {
	t.Helper()
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if !m.Manifests[0].MediaType.IsIndex() {
		t.Fatalf("the layout begins with %s", m.Manifests[0].MediaType)
	}
	return m.Manifests[0].Digest
}

// sameFiles compares layouts, but for the names that a push gives: what is told of the images is the same, too.
func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	names := func(dir string) (all []string) {
		entries, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	if one, other := names(a), names(b); !slices.Equal(one, other) {
		t.Errorf("%v the first time, %v the second", one, other)
	}
}

// told looks for the SBOM and the provenance of each image of a pushed index.
func told(t *testing.T, ref name.Reference) {
	t.Helper()
	idx, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Manifests {
		referrers, err := remote.Referrers(ref.Context().Digest(d.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		list, err := referrers.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, r := range list.Manifests {
			about, err := remote.Image(ref.Context().Digest(r.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			statements, err := about.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range statements.Layers {
				kinds = append(kinds, l.Annotations["in-toto.io/predicate-type"])
			}
		}
		for _, want := range []string{"https://slsa.dev/provenance/v1", "https://spdx.dev/Document"} {
			if !slices.Contains(kinds, want) {
				t.Errorf("of the image for %s is told %v, and no %s", d.Platform, kinds, want)
			}
		}
	}
}
