package sandbox_test

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
)

// inContainer runs a test of this binary in a root of its own, which holds
// nothing but the binary, busybox, and what every container has mounted.
func inContainer(t *testing.T, test string) {
	t.Helper()
	needRoot(t)
	if dynamic(t) {
		t.Skip("a test binary without shared libraries is wanted: CGO_ENABLED=0, as make has it")
	}
	root := t.TempDir()
	for _, d := range []string{"kaniko/tmp", "dev", "proc", "sys", "bin"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"/proc/self/exe": "kaniko/self.test", "/bin/busybox": "kaniko/busybox"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Skip(err)
		}
		if err := os.WriteFile(filepath.Join(root, to), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("unshare", "--mount", "--pid", "--fork", "sh", "-ec", `
		mount --bind "$1" "$1"; mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"
		exec chroot "$1" /kaniko/self.test "-test.run=^$2\$" -test.v`, "sh", root, test)
	c.Env = append(os.Environ(), stage+"=container", "TMPDIR=/kaniko/tmp")
	passes(t, c)
}

// dynamic tells whether this binary needs a loader.
func dynamic(t *testing.T) bool {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

func TestInPlace(t *testing.T) { inContainer(t, "TestInsideContainer") }

// TestInsideContainer is the contract of a sandbox whose root is the test's own.
func TestInsideContainer(t *testing.T) {
	if os.Getenv(stage) != "container" {
		t.Skip("run by TestInPlace")
	}
	if err := os.Symlink("/kaniko/busybox", "/bin/busybox"); err != nil {
		t.Fatal(err)
	}
	running := 0
	o := sandbox.InPlaceOptions{Dir: "/", Spare: "/kaniko", Running: func(pid int) error {
		if running = pid; pid > 0 && syscall.Kill(pid, 0) != nil {
			return fmt.Errorf("told of process %d, which is not there", pid)
		}
		return nil
	}}
	s := sandbox.NewInPlace(sandbox.Real(), reaper(t), o)
	sandboxtest.Contract(t, sandboxtest.Bed{
		Sandbox: s, Root: putInPlace,
		// There is one root, and all of the machine's is in it.
		Without: []string{"AtOnce", "Untouched", "Hostile", "Devices", "Descriptors", "Directory"},
	})
	if running != 0 {
		t.Errorf("process %d is still said to run", running)
	}
	if err := s.Try(t.Context()); err != nil {
		t.Errorf("try: %v", err)
	}
}

// putInPlace fills the root with what is in a directory.
func putInPlace(t testing.TB, dir string) (sandbox.Root, string) {
	t.Helper()
	mine := []string{"kaniko", "dev", "proc", "sys"}
	old, err := os.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range old {
		if !slices.Contains(mine, e.Name()) {
			if err := os.RemoveAll("/" + e.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains(mine, e.Name()) {
			continue
		}
		if out, err := exec.Command("/kaniko/busybox", "cp", "-a", filepath.Join(dir, e.Name()), "/").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return sandbox.Root{Dir: "/"}, "/"
}
