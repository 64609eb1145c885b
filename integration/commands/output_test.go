package commands

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

const small = "FROM busybox\nRUN echo x > /x\nCOPY f /f\n"

// TestOutputsAgree makes every kind of output in one run; all hold the same image.
func TestOutputsAgree(t *testing.T) {
	dir, out := testkit.Files(t, map[string]string{"Dockerfile": small, "f": "f\n"}), t.TempDir()
	one, two := kit.NewRef("outputs"), kit.NewRef("outputs")
	path := func(name string) string { return filepath.Join(out, name) }
	res := run(t, testkit.Build{Context: dir, Ref: one, Args: []string{
		"--destination", two, "--tar-path", path("image.tar"), "--oci-layout-path", path("layout"),
		"--digest-file", path("digest"), "--image-name-with-digest-file", path("name"),
		"--image-name-tag-with-digest-file", path("name-tag"), "--metadata-file", path("metadata.json"),
	}})
	if res.Code != 0 {
		t.Fatalf("executor ended with %d:\n%s", res.Code, res.Stderr)
	}
	digest := strings.TrimSpace(read(t, path("digest")))
	for _, ref := range []string{one, two} {
		if got := pushed(t, ref); got != digest {
			t.Errorf("%s has digest %s; the file says %s", ref, got, digest)
		}
	}
	inLayout, err := imagetree.FromLayout(path("layout"))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := inLayout[0].Digest(); err != nil || d.String() != digest {
		t.Errorf("layout has digest %s (%v); the file says %s", d, err, digest)
	}
	inTar, err := imagetree.FromTar(path("image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, inLayout[0], inTar)

	repo := one[:strings.LastIndex(one, ":")]
	wantLine(t, "name file", read(t, path("name")), repo+"@"+digest)
	wantLine(t, "name and tag file", read(t, path("name-tag")), one+"@"+digest)
	wantLine(t, "stdout", res.Stdout, repo+"@"+digest)
	var meta map[string]any
	if err := json.Unmarshal([]byte(read(t, path("metadata.json"))), &meta); err != nil {
		t.Fatal(err)
	}
	if meta["containerimage.digest"] != digest {
		t.Errorf("metadata says digest %v, not %s", meta["containerimage.digest"], digest)
	}
}

// TestTarLoads gives the tar to podman, where there is one.
func TestTarLoads(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil || os.Getuid() != 0 {
		t.Skip("podman is not here, or needs root")
	}
	dir, out := testkit.Files(t, map[string]string{"Dockerfile": small, "f": "f\n"}), t.TempDir()
	tar := filepath.Join(out, "image.tar")
	ref := kit.NewRef("tar")
	if res := run(t, testkit.Build{Context: dir, Args: []string{"--tar-path", tar, "--destination", ref}}); res.Code != 0 {
		t.Fatalf("executor ended with %d:\n%s", res.Code, res.Stderr)
	}
	podman := exec.CommandContext(t.Context(), "podman", "--root", filepath.Join(out, "root"), "--runroot", filepath.Join(out, "run"),
		"--storage-driver", "vfs", "load", "-i", tar)
	if b, err := podman.CombinedOutput(); err != nil || !strings.Contains(string(b), ref) {
		t.Errorf("podman load: %v\n%s", err, b)
	}
}

// TestNoPush builds without a registry to push to.
func TestNoPush(t *testing.T) {
	dir := testkit.Files(t, map[string]string{"Dockerfile": small, "f": "f\n"})
	if res := run(t, testkit.Build{Context: dir}); res.Code != 0 {
		t.Errorf("executor ended with %d:\n%s", res.Code, res.Stderr)
	}
}

// TestSingleSnapshot puts all of the final stage into one layer, and the tree stays the same.
func TestSingleSnapshot(t *testing.T) {
	dir := testkit.Files(t, map[string]string{"Dockerfile": small + "RUN rm /x && echo y > /y\n", "f": "f\n"})
	many := kit.MustBuild(t, testkit.Build{Context: dir})
	one := kit.MustBuild(t, testkit.Build{Context: dir, Args: []string{"--single-snapshot"}})
	layers, err := one.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 2 {
		t.Errorf("image has %d layers; the base has one and the stage has one", len(layers))
	}
	sameTree(t, many, one)
}

// TestSyntaxLineIsAnsweredHere does not pull the frontend that a syntax line names.
func TestSyntaxLineIsAnsweredHere(t *testing.T) {
	dir := testkit.Files(t, map[string]string{"Dockerfile": "# syntax=docker/dockerfile:1\n" + small, "f": "f\n"})
	if res := run(t, testkit.Build{Context: dir}); res.Code != 0 {
		t.Errorf("executor ended with %d:\n%s", res.Code, res.Stderr)
	}
}

// TestMemoryStaysBounded copies 2 GiB and looks at the executor's own peak.
func TestMemoryStaysBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("copies 2 GiB")
	}
	dir := testkit.Files(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY big /big\n"})
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(2 << 30); err != nil {
		t.Fatal(err)
	}
	f.Close()
	res := run(t, testkit.Build{Context: dir, Ref: kit.NewRef("big")})
	if res.Code != 0 {
		t.Fatalf("executor ended with %d:\n%s", res.Code, res.Stderr)
	}
	if peak := res.Peak(); peak > 200<<20 {
		t.Errorf("executor used %d MiB at most; a layer of 2 GiB must fit into 200", peak>>20)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantLine(t *testing.T, what, text, line string) {
	t.Helper()
	if !slices.Contains(strings.Split(strings.TrimSpace(text), "\n"), line) {
		t.Errorf("%s is %q and lacks %q", what, text, line)
	}
}

func pushed(t *testing.T, ref string) string {
	t.Helper()
	images, err := imagetree.Pull(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := images[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func same(t *testing.T, a, b imagetree.Image) {
	t.Helper()
	opts := imagetree.Options{Created: true, MTimes: []string{"/"}}
	left, err := imagetree.Describe(a, opts)
	if err != nil {
		t.Fatal(err)
	}
	right, err := imagetree.Describe(b, opts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := imagetree.Diff(left, right); len(diff) > 0 {
		t.Errorf("images differ:\n%s", strings.Join(diff, "\n"))
	}
}

func sameTree(t *testing.T, a, b imagetree.Image) {
	t.Helper()
	left, err := imagetree.Flatten(a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := imagetree.Flatten(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := imagetree.Diff(left.Describe(imagetree.Options{}), right.Describe(imagetree.Options{})); len(diff) > 0 {
		t.Errorf("trees differ:\n%s", strings.Join(diff, "\n"))
	}
}
