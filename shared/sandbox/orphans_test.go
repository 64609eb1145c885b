package sandbox_test

import (
	"sync"
	"testing"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
)

// TestReaperKnowsAllSteps runs steps of all kinds side by side, as several builds
// in one process do: none is taken for what another left behind.
func TestReaperKnowsAllSteps(t *testing.T) {
	needRoot(t)
	r, dir := reaper(t), sandboxtest.Busybox(t)
	var all sync.WaitGroup
	for name, bed := range map[string]sandboxtest.Bed{
		"overlay":                {Sandbox: sandbox.NewOverlay(r), Root: overlayRoot},
		"overlay with host pids": {Sandbox: sandbox.NewOverlay(r).WithHostPIDs(), Root: overlayRoot},
		"bind":                   {Sandbox: sandbox.NewBind(sandbox.Real(), r), Root: plainRoot},
		"chroot":                 {Sandbox: sandbox.NewChroot(r), Root: plainRoot},
	} {
		root, _ := bed.Root(t, dir)
		all.Go(func() {
			for i := range 15 {
				// Some end at once, leaving something behind, while others go on.
				script := "sleep 1000 & sleep 0.05; echo done"
				if i%2 == 0 {
					script = "(sleep 1000 &); echo done"
				}
				if out, err := sh(t, bed.Sandbox, root, sandbox.Process{}, script); out != "done\n" || err != nil {
					t.Errorf("%s, step %d: got %q, %v", name, i, out, err)
				}
			}
		})
	}
	all.Wait()
}
