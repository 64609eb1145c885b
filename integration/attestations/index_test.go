package attestations

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/integration/loopback"
)

// TestIndexAsBuildKit has BuildKit build for two platforms, merges its images as if they were built apart, and compares
// the index with BuildKit's own.
func TestIndexAsBuildKit(t *testing.T) {
	d := daemon(t)
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY Dockerfile /\n"), 0o600))
	built := filepath.Join(t.TempDir(), "built")
	check(t, d.Control(t.Context(), "build", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+dir,
		"--opt", "platform=linux/amd64,linux/arm64", "--output", "type=oci,tar=false,name=registry.example/app:1,dest="+built))
	top, err := layout.ImageIndexFromPath(built)
	check(t, err)
	m, err := top.IndexManifest()
	check(t, err)
	theirs, err := top.ImageIndex(m.Manifests[0].Digest)
	check(t, err)
	want, err := theirs.IndexManifest()
	check(t, err)

	store, err := loopback.OpenStore(filepath.Join(t.TempDir(), "registry"))
	check(t, err)
	srv, err := loopback.Listen(context.Background(), 0, &loopback.Handler{Store: store})
	check(t, err)
	defer srv.Close()
	manifest := filepath.Join(t.TempDir(), "manifest")
	args := []string{manifest, "create", "-t", srv.Addr + "/app:1", "--expect-platforms", "linux/amd64,linux/arm64"}
	for _, d := range slices.Backward(want.Manifests) {
		img, err := theirs.Image(d.Digest)
		check(t, err)
		ref, err := name.NewDigest(srv.Addr+"/app@"+d.Digest.String(), name.Insecure)
		check(t, err)
		check(t, remote.Write(ref, img))
		args = append(args, ref.String())
	}
	for _, args := range [][]string{{"go", "build", "-o", manifest, "github.com/strake-build/strake/manifest"}, args} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	ref, err := name.ParseReference(srv.Addr+"/app:1", name.Insecure)
	check(t, err)
	ours, err := remote.Index(ref)
	check(t, err)
	got, err := ours.IndexManifest()
	check(t, err)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b v1.Platform) bool { return a.Equals(b) })); diff != "" {
		t.Errorf("theirs and ours:\n%s", diff)
	}
}
