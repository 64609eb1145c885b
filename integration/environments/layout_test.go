package environments

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/strake-build/strake/integration/imagetree"
)

// TestKanikoLayout looks for what pipelines rely on in kaniko's images: where the programs are, what is writable, where
// certificates and logins are looked for.
func TestKanikoLayout(t *testing.T) {
	layouts, err := bed.Layouts()
	if err != nil {
		t.Fatal(err)
	}
	for image, wants := range map[string]struct {
		entry string
		files map[string]int64
	}{
		"executor": {"/kaniko/executor", map[string]int64{"kaniko": 0o777, "kaniko/executor": 0o755, "kaniko/.docker": 0o777, "workspace": 0o777}},
		"executor-debug": {"/kaniko/executor", map[string]int64{
			"kaniko": 0o777, "kaniko/executor": 0o755, "kaniko/warmer": 0o755, "kaniko/.docker": 0o777, "busybox/sh": 0o777, "busybox/cat": 0o777, "busybox/sleep": 0o777,
		}},
		"warmer":   {"/kaniko/warmer", map[string]int64{"kaniko/warmer": 0o755, "workspace": 0o755}},
		"manifest": {"/kaniko/manifest", map[string]int64{"kaniko/manifest": 0o755}},
	} {
		t.Run(image, func(t *testing.T) {
			images, err := imagetree.FromLayout(filepath.Join(layouts, image))
			if err != nil {
				t.Fatal(err)
			}
			tree, err := imagetree.Flatten(images[0])
			if err != nil {
				t.Fatal(err)
			}
			wants.files["kaniko/ssl/certs/ca-certificates.crt"] = 0o644
			for name, mode := range wants.files {
				if tree[name] == nil || tree[name].Mode != mode && tree[name].Link == "" {
					t.Errorf("%s: %+v; want mode %04o", name, tree[name], mode)
				}
			}
			file, err := images[0].ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			c := file.Config
			if !slices.Equal(c.Entrypoint, []string{wants.entry}) || c.WorkingDir != "/workspace" || c.User != "" || len(c.Cmd) > 0 {
				t.Errorf("begins with %q %q in %s as %q", c.Entrypoint, c.Cmd, c.WorkingDir, c.User)
			}
			path := "PATH=/usr/local/bin:/kaniko"
			if image == "executor-debug" {
				path += ":/busybox"
			}
			for _, want := range []string{"HOME=/root", "USER=root", path, "SSL_CERT_DIR=/kaniko/ssl/certs", "DOCKER_CONFIG=/kaniko/.docker/"} {
				if !slices.Contains(c.Env, want) {
					t.Errorf("the environment %q lacks %s", c.Env, want)
				}
			}
		})
	}
}
