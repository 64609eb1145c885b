package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
)

func TestOverlayWithoutPivot(t *testing.T) {
	needRoot(t)
	sandboxtest.Contract(t, sandboxtest.Bed{Sandbox: sandbox.NewOverlay(nil).WithoutPivot(), Root: overlayRoot})
}

func TestOverlayWithHostPIDs(t *testing.T) {
	needRoot(t)
	sandboxtest.Contract(t, sandboxtest.Bed{Sandbox: sandbox.NewOverlay(reaper(t)).WithHostPIDs(), Root: overlayRoot})
}

func TestChrootPutsBack(t *testing.T) {
	needRoot(t)
	s := sandbox.NewChroot(reaper(t))
	dir := sandboxtest.Busybox(t)
	if err := os.WriteFile(filepath.Join(dir, "dev/null"), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	moved, removed, linked, file := filepath.Join(base, "moved"), filepath.Join(base, "removed"), filepath.Join(base, "linked"), filepath.Join(base, "file")
	for _, d := range []string{moved, removed, linked} {
		if err := os.Mkdir(d, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "x"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r, root := plainRoot(t, dir)
	for _, d := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(root, "mnt", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/a", Source: moved}, {Target: "/mnt/b", Source: removed}, {Target: "/mnt/c", Source: linked}, {Target: "/mnt/file", Source: file}}}
	out, err := sh(t, s, r, p, "mv /mnt/a /tmp/elsewhere; rm -r /mnt/b; mv /mnt/c /mnt/d; ln -s /etc /mnt/c; rm /mnt/file; rm /dev/null; echo x >/dev/null; rm /dev/zero; mkdir -p /dev/zero/x")
	if out != "" || err != nil {
		t.Fatalf("got %q, %v", out, err)
	}
	for _, name := range []string{filepath.Join(moved, "x"), filepath.Join(linked, "x"), filepath.Join(root, "mnt/a"), filepath.Join(root, "mnt/c")} {
		if info, err := os.Lstat(name); err != nil || info.Mode()&os.ModeSymlink != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Lstat(removed); err != nil || info.Mode() != os.ModeDir|0o750 {
		t.Errorf("the removed directory: %v, %v", info, err)
	}
	for _, name := range []string{filepath.Join(root, "dev/zero"), filepath.Join(root, "tmp/elsewhere"), filepath.Join(root, "mnt/d"), file} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	for name, want := range map[string]string{"dev/null": "a file", "mnt/file": "hidden"} {
		if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(root)); err != nil || len(entries) != 1 {
		t.Errorf("beside the root: %v, %v", entries, err)
	}
}

func TestChrootCopies(t *testing.T) {
	needRoot(t)
	elsewhere, err := os.MkdirTemp("/dev/shm", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	if os.TempDir() == "/dev/shm" || strings.HasPrefix(os.TempDir(), "/dev/shm/") {
		if elsewhere, err = os.MkdirTemp("/var/tmp", "sandbox"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	cache := filepath.Join(elsewhere, "cache")
	if err := os.MkdirAll(filepath.Join(cache, "d"), 0o751); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(cache, "l")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cache, "d/old"), []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	r, root := plainRoot(t, sandboxtest.Busybox(t))
	p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Source: cache}}}
	const script = "cat /mnt/dir/d/old; stat -c %a /mnt/dir/d /mnt/dir/d/old; readlink /mnt/dir/l; echo new >/mnt/dir/new; chmod 700 /mnt/dir/d"
	if out, err := sh(t, sandbox.NewChroot(reaper(t)), r, p, script); out != "old751\n640\nnowhere\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if b, err := os.ReadFile(filepath.Join(cache, "new")); err != nil || string(b) != "new\n" {
		t.Errorf("what was written: %q, %v", b, err)
	}
	if info, err := os.Stat(filepath.Join(cache, "d")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
	if _, err := os.Lstat(filepath.Join(root, "mnt/dir/new")); err == nil {
		t.Error("the copy is left in the root")
	}
}

func TestChrootRefuses(t *testing.T) {
	needRoot(t)
	s := sandbox.NewChroot(reaper(t))
	r, _ := plainRoot(t, sandboxtest.Busybox(t))
	layers, _ := overlayRoot(t, r.Dir)
	for name, run := range map[string]struct {
		r sandbox.Root
		p sandbox.Process
	}{
		"no network": {r, sandbox.Process{Network: sandbox.None}},
		"an overlay": {r, sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Overlay: &layers}}}},
		"layers":     {layers, sandbox.Process{}},
	} {
		if out, err := sh(t, s, run.r, run.p, "true"); !errors.Is(err, sandbox.ErrUnsupported) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
