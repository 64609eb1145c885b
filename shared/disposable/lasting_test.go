package disposable

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLasting has a root in which names lead through links to a mount, as the official image does.
func TestLasting(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(top, name) }
	for _, dir := range []string{"home/var", "home/run/secrets/aws/..2/sub", "plain", "home/data/volume/deeper"} {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"var": at("home/var"), "run": at("home/run"), "data": at("home/data"), "home/var/run": at("run"),
		"home/run/secrets/aws/..data": "..2", "home/run/secrets/aws/token": "..data/token", "home/run/secrets/aws/sub": "..data/sub",
	} {
		if err := os.Symlink(to, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"home/run/secrets/aws/..2/token", "home/run/secrets/aws/..2/sub/token", "plain/file", "home/run/file", "home/data/volume/deeper/file"} {
		if err := os.WriteFile(at(file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	points := map[string]bool{"/": false, at("home/run/secrets/aws"): true, at("home/data/volume"): true, at("home/data/volume/deeper"): true}
	for _, c := range []struct {
		file, want string
		mounted    bool
	}{
		{"var/run/secrets/aws/token", "home/run/secrets/aws/token", true},
		{"var/run/secrets/aws/..data/token", "home/run/secrets/aws/..data/token", true},
		{"var/run/secrets/aws/sub/token", "home/run/secrets/aws/sub/token", true},
		{"home/run/secrets/aws/token", "home/run/secrets/aws/token", true},
		{"data/volume/deeper/file", "home/data/volume/deeper/file", true},
		{"var/run/file", "home/run/file", false},
		{"plain/file", "plain/file", false},
		{"var/run/secrets/aws/not-yet", "home/run/secrets/aws/not-yet", true},
		{"nowhere/file", "nowhere/file", false},
	} {
		got, mounted := lasting(at(c.file), points)
		if got != at(c.want) || mounted != c.mounted {
			t.Errorf("%s: %s, mounted %v; want %s, %v", c.file, got, mounted, at(c.want), c.mounted)
		}
	}
}
