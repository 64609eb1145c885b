package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
)

// overlayRoot makes a directory the lower layer of a root.
func overlayRoot(t testing.TB, dir string) (sandbox.Root, string) {
	t.Helper()
	base := t.TempDir()
	r := sandbox.Root{Lower: []string{dir}, Upper: filepath.Join(base, "upper"), Work: filepath.Join(base, "work")}
	for _, d := range []string{r.Upper, r.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return r, r.Upper
}

// plainRoot copies a directory to be a root.
func plainRoot(t testing.TB, dir string) (sandbox.Root, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-a", dir, root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return sandbox.Root{Dir: root}, root
}

func reaper(t testing.TB) *sandbox.Reaper {
	t.Helper()
	r, err := sandbox.BecomeReaper()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || sandbox.NeedsUserNamespace() {
		t.Skip("wants root with CAP_SYS_ADMIN")
	}
}

func TestOverlay(t *testing.T) {
	needRoot(t)
	sandboxtest.Contract(t, sandboxtest.Bed{Sandbox: sandbox.NewOverlay(nil), Root: overlayRoot})
}

func TestBind(t *testing.T) {
	needRoot(t)
	sandboxtest.Contract(t, sandboxtest.Bed{Sandbox: sandbox.NewBind(sandbox.Real(), nil), Root: plainRoot})
}

func TestChroot(t *testing.T) {
	needRoot(t)
	sandboxtest.Contract(t, sandboxtest.Bed{Sandbox: sandbox.NewChroot(reaper(t)), Root: plainRoot})
}

func BenchmarkStep(b *testing.B) {
	needRoot(b)
	layers := []string{b.TempDir(), b.TempDir(), b.TempDir(), b.TempDir(), sandboxtest.Busybox(b)}
	o := sandbox.NewOverlay(nil)
	for b.Loop() {
		r, _ := overlayRoot(b, "")
		r.Lower = layers
		e, err := o.Run(b.Context(), r, sandbox.Process{Args: []string{"/bin/true"}})
		if err != nil || e.Code != 0 {
			b.Fatal(e, err)
		}
	}
}
