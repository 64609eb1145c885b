package build_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/build"
)

// TestCacheMountsTravel has what a step left in a cache mount there in a build that
// shares nothing with the first but a repository.
func TestCacheMountsTravel(t *testing.T) {
	b := newBed(t)
	l := b.repository(t, "mounts")
	make := func(script string, size int64) string {
		t.Helper()
		b.dir = t.TempDir()
		req := b.request(t, "FROM %s\nRUN --mount=type=cache,target=/c "+script+"\n")
		req.CacheMounts = build.CacheMounts{Lookup: b.repository(t, "mounts"), Store: l, MaxSize: size}
		builder := b.builder(t)
		res, err := builder.Run(t.Context(), req)
		must(t, err)
		must(t, res.Close())
		return builder.Progress.(*progress).out.String()
	}
	make("echo 1 >/c/f; mkdir -m 711 /c/d; ln -s f /c/d/l; chown 7:8 /c/f", 0)
	out := make("cat /c/f; stat -c '%%u:%%g' /c/f; stat -c %%a /c/d; readlink /c/d/l", 0)
	if out != "1\n7:8\n711\nf\n" {
		t.Errorf("the step found %q", out)
	}
	b.Forget()
	make("true", 0)
	if n := b.Count("PUT", "/mounts/"); n > 0 {
		t.Errorf("what did not change was put %d times", n)
	}
	make("head -c 100000 /dev/urandom >/c/big", 1000)
	if out := make("ls /c", 0); out != "d\nf\n" {
		t.Errorf("what was too large is there: %q", out)
	}
	make("echo 2 >/c/f", 0)
	if out := make("cat /c/f", 0); out != "2\n" {
		t.Errorf("the step found %q", out)
	}
	// What is damaged is as if it were not there.
	for _, r := range b.Requests() {
		if strings.HasPrefix(r.Path, "/v2/mounts/manifests/layers-") {
			b.PutManifest(t, "mounts:"+filepath.Base(r.Path), "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:`+strings.Repeat("0", 64)+`"},"layers":[]}`))
		}
	}
	if out := make("ls /c", 0); out != "" {
		t.Errorf("the step found %q", out)
	}
	if left, err := os.ReadDir(filepath.Join(b.dir, "mounts")); err != nil || len(left) != 2 { // the directory and its lock
		t.Errorf("left: %v, %v", left, err)
	}
}
