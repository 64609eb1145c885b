package sandboxtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/strake-build/strake/shared/sandbox"
)

// testNested mounts in what is mounted: points that are missing there are made
// on demand, and stay where the outer mount stays.
func testNested(t *testing.T, b Bed) {
	dir, file := source(t), filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("inner"), 0o644))
	p := sandbox.Process{Cwd: "/mnt/dir/work/here", MakeCwd: true, Mounts: []sandbox.Mount{
		{Target: "/mnt/dir", Source: dir},
		{Target: "/mnt/dir/new/file", Source: file, Make: true},
		{Target: "/mnt/dir/sub", Tmpfs: true, Make: true},
		{Target: "/mnt/dir/sub/deep/dir", Source: source(t), Make: true},
	}}
	r := b.run(t, p, "pwd; cat /mnt/dir/new/file; ls /mnt/dir/sub /mnt/dir/sub/deep/dir")
	r.want(t, "/mnt/dir/work/here\ninner/mnt/dir/sub:\ndeep\n\n/mnt/dir/sub/deep/dir:\nlink\nout\nsub\n")
	for name, want := range map[string]os.FileMode{"new": os.ModeDir | 0o755, "new/file": 0o644, "work/here": os.ModeDir | 0o755, "sub/name": 0o644} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("in the outer mount, %s: %v, %v", name, info, err)
		}
	}
	for _, gone := range []string{filepath.Join(dir, "sub/deep"), filepath.Join(r.changes, "mnt/dir/new")} {
		if _, err := os.Lstat(gone); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	for target, want := range map[string]error{"/mnt/dir/link/x": syscall.ELOOP, "/mnt/dir/sub/name/x": syscall.ENOTDIR} {
		p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Source: source(t)}, {Target: target, Tmpfs: true, Make: true}}}
		if r := b.run(t, p, "true"); !errors.Is(r.err, want) {
			t.Errorf("%s: %v, want %v", target, r.err, want)
		}
	}
	p = sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Source: source(t), ReadOnly: true}, {Target: "/mnt/dir/new", Tmpfs: true, Make: true}}}
	if r := b.run(t, p, "true"); !errors.Is(r.err, syscall.EROFS) {
		t.Errorf("a point in a read-only mount: %v", r.err)
	}
	p.Mounts[1].Target = "/mnt/dir/sub/dir"
	b.run(t, p, "echo x >/mnt/dir/sub/dir/x; cat /mnt/dir/sub/dir/x").want(t, "x\n")
}
