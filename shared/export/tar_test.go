package export

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestTarIsDockers(t *testing.T) {
	img := newImage(t, "amd64", blob(t, "a"), blob(t, "b"))
	var out [2]bytes.Buffer
	for i := range out {
		names := []Destination{destination(t, "alpine"), destination(t, "reg.example/a:v1")}
		if err := (&Tar{Path: "-", Stdout: &out[i], Names: names}).Export(t.Context(), img); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out[0].Bytes(), out[1].Bytes()) {
		t.Error("the same image gave two archives")
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out[0].Bytes())), nil }
	for _, tag := range []string{"docker.io/library/alpine:latest", "reg.example/a:v1"} {
		ref, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tarball.Image(open, &ref)
		if err != nil {
			t.Fatalf("%s: %v", tag, err)
		}
		if err := validate.Image(got); err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
	m, err := tarball.LoadManifest(open)
	if err != nil || len(m) != 1 || len(m[0].Layers) != 2 {
		t.Errorf("manifest.json: %+v, %v", m, err)
	}
}

func TestTarWithoutName(t *testing.T) {
	var out bytes.Buffer
	idx := newIndex(t, newImage(t, "amd64", blob(t, "a"))) // an index of one is one image
	if err := (&Tar{Path: "-", Stdout: &out}).Export(t.Context(), idx); err != nil {
		t.Fatal(err)
	}
	m, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return io.NopCloser(&out), nil })
	if err != nil || m[0].RepoTags[0] != "docker.io/unset-repo/unset-image-name:latest" {
		t.Errorf("got %+v, %v", m, err)
	}
	if err := (&Tar{Path: "-"}).Export(t.Context(), idx); err == nil {
		t.Error("no standard output: no error")
	}
}

func TestFailureLeavesTheOldArchive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := blob(t, "a")
	img := newImage(t, "amd64", b)
	for what, open := range map[string]func() (io.ReadCloser, error){
		"cannot open": func() (io.ReadCloser, error) { return nil, errors.New("gone") },
		"too short":   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil },
		"too long":    func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(zeros{}, 1<<20)), nil },
	} {
		b.Open = open
		if err := (&Tar{Path: path}).Export(t.Context(), img); err == nil || !strings.Contains(err.Error(), b.Digest.String()) {
			t.Errorf("%s: %v", what, err)
		}
		if got, _ := os.ReadFile(path); string(got) != "old" {
			t.Errorf("%s: archive is now %d bytes", what, len(got))
		}
		if left, _ := filepath.Glob(filepath.Dir(path) + "/.*"); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
	}
}

func run(t *testing.T, cmd string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), cmd, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", cmd, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestOthersReadTheTar is for the programs that users give archives to.
func TestOthersReadTheTar(t *testing.T) {
	img := newImage(t, "amd64", blob(t, "etc-file"))
	config, _ := img.ConfigName()
	dir := t.TempDir()
	path := filepath.Join(dir, "image.tar")
	if err := (&Tar{Path: path, Names: []Destination{destination(t, "strake.example/a/b:v1")}}).Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	t.Run("podman", func(t *testing.T) {
		if _, err := exec.LookPath("podman"); err != nil || os.Getuid() != 0 {
			t.Skip("podman as root")
		}
		store := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
		out := run(t, "podman", append(store, "load", "-i", path)...)
		if !strings.Contains(out, "strake.example/a/b:v1") {
			t.Errorf("loaded: %s", out)
		}
		if id := run(t, "podman", append(store, "image", "inspect", "--format", "{{.Id}}", "strake.example/a/b:v1")...); id != config.Hex {
			t.Errorf("image ID %s, want %s", id, config.Hex)
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		if _, err := exec.LookPath("skopeo"); err != nil {
			t.Skip("skopeo")
		}
		run(t, "skopeo", "--insecure-policy", "copy", "docker-archive:"+path, "dir:"+filepath.Join(dir, "as-docker"))
		if got := run(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+path+":v1"); got != digestOf(t, img).String() {
			t.Errorf("as OCI archive it is %s", got)
		}
	})
}
