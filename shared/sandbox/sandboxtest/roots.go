// Package sandboxtest has root filesystems to run things in, and the contract that every sandbox keeps.
package sandboxtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Busybox makes a directory with a busybox userland and two users: root, and
// app, who is 1000 and in group 1000. A test is skipped where the machine has no
// static busybox.
func Busybox(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"bin", "etc", "tmp", "root", "dev", "proc", "sys", "mnt/dir", "mnt/other"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for name, content := range map[string]string{
		"mnt/file":   "hidden",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1000:\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o1777))
	// Readable for all, whatever the umask and the mode of temporary directories.
	for d := dir; d != filepath.Dir(os.TempDir()) && strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
	install(t, dir)
	return dir
}

func install(t testing.TB, dir string) {
	const busybox = "/bin/busybox"
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Skipf("busybox-static is not installed: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755))
	for _, a := range applets {
		must(t, os.Symlink("busybox", filepath.Join(dir, "bin", a)))
	}
}

// applets are the programs there are: few, because roots are made often.
var applets = strings.Fields("cat chmod chown echo env false grep head hostname id kill ln ls mkdir mknod mount mv ping ps pwd readlink rm sed seq setsid sh sleep stat touch true umount wc")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
