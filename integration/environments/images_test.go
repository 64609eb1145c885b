package environments

import (
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
)

// TestOfficialImages builds the images twice and looks at what is in the executor's.
func TestOfficialImages(t *testing.T) {
	first, err := bed.Layouts()
	if err != nil {
		t.Fatal(err)
	}
	second := t.TempDir()
	if err := BuildImages(t.Context(), filepath.Join(bed.dir, "bin"), second, []string{"linux/" + runtime.GOARCH}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"executor", "executor-debug", "warmer", "manifest"} {
		if a, b := digestOf(t, filepath.Join(first, name)), digestOf(t, filepath.Join(second, name)); a != b {
			t.Errorf("%s is %s the first time, %s the second", name, a, b)
		}
	}
	images, err := imagetree.FromLayout(filepath.Join(first, "executor"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := imagetree.Flatten(images[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]int64{
		".": 0o777, "kaniko": 0o777, "kaniko/executor": 0o755, "kaniko/.disposable-root": 0o644, "kaniko/.docker": 0o777,
		"kaniko/ssl/certs/ca-certificates.crt": 0o644, "kaniko/root": 0o777, "kaniko/root/etc": 0o777, "kaniko/root/run/secrets": 0o777,
		"kaniko/root/tmp": 0o1777, "workspace": 0o777,
	} {
		if tree[name] == nil || tree[name].Mode != mode {
			t.Errorf("%s: %+v; want mode %04o", name, tree[name], mode)
		}
	}
	for name, node := range tree {
		if node.Link != "" && node.Link != "/kaniko/root/"+name && name != "kaniko/root/var/run" {
			t.Errorf("%s leads to %s", name, node.Link)
		}
	}
	file, err := images[0].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HOME=/root", "USER=root", "PATH=/usr/local/bin:/kaniko", "SSL_CERT_DIR=/kaniko/ssl/certs", "DOCKER_CONFIG=/kaniko/.docker/"} {
		if !slices.Contains(file.Config.Env, want) {
			t.Errorf("the environment %s lacks %s", strings.Join(file.Config.Env, " "), want)
		}
	}
	if file.Config.WorkingDir != "/workspace" || !slices.Equal(file.Config.Entrypoint, []string{"/kaniko/executor"}) {
		t.Errorf("the image begins with %q in %s", file.Config.Entrypoint, file.Config.WorkingDir)
	}
}

func digestOf(t *testing.T, layout string) string {
	t.Helper()
	images, err := imagetree.FromLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	d, err := images[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}
