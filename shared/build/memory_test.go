package build_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMemory builds layers of a gigabyte each with the real program, which must
// not grow with them.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes some gigabytes")
	}
	const size, most = 1 << 30, 200 << 20
	b := newBed(t)
	exe := filepath.Join(t.TempDir(), "executor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", exe, "../../executor").CombinedOutput(); err != nil {
		t.Skipf("build the executor: %v: %s", err, out)
	}
	bigFile(t, filepath.Join(b.context, "big"), size)
	req := b.request(t, "FROM %s\nCOPY big /big\nRUN cat /big >/copy\n")
	for _, isolation := range []string{"overlay", "chroot"} {
		t.Run(isolation, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, "--context", b.context, "--dockerfile", req.Dockerfile, "--kaniko-dir", b.dir,
				"--isolation", isolation, "--compression", "zstd", "--no-push", "--oci-layout-path", filepath.Join(t.TempDir(), "layout"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
			t.Logf("%d MiB", rss>>20)
			if rss > most {
				t.Errorf("it took %d MiB, want %d at most", rss>>20, most>>20)
			}
		})
	}
}

// bigFile writes what no compressor makes smaller: its window is shorter than the period.
func bigFile(t *testing.T, name string, size int) {
	t.Helper()
	block := make([]byte, 64<<20)
	random := rand.NewChaCha8([32]byte{})
	_, err := random.Read(block)
	must(t, err)
	f, err := os.Create(name)
	must(t, err)
	for range size / len(block) {
		_, err := bytes.NewReader(block).WriteTo(f)
		must(t, err)
	}
	must(t, f.Close())
}
