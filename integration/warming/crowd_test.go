package warming

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/integration/testkit"
)

// TestCrowd has 16 warmers, half of which are killed, a collector and 8 builds on one directory at once. No build sees
// a wrong byte, none waits for the dead, and the next warmer leaves everything right.
func TestCrowd(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	ref := kit.Registry + "/library/busybox:latest"
	context := testkit.Files(t, map[string]string{
		"Dockerfile": "FROM " + ref + "\nRUN echo built > /there\nCOPY --from=" + ref + " /bin /copied\n",
	})
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			args := []string{"--cache-dir", cache, "--image", ref, "--force", "--unpacked", []string{"true", "false"}[n/2%2]}
			cmd := exec.CommandContext(t.Context(), warmer, args...)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			if n%2 == 1 {
				time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
				_ = cmd.Process.Signal(syscall.SIGKILL)
				_ = cmd.Wait() // killed, or just done
				return
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("warmer %d: %v\n%s", n, err, out.String())
			}
		})
	}
	digests := make([]string, 8)
	for n := range digests {
		all.Go(func() {
			state := t.TempDir()
			file := filepath.Join(state, "digest")
			res := run(t, testkit.Build{Context: context, State: filepath.Join(state, "own"), Args: []string{
				"--cache-dir", cache, "--reproducible", "--digest-file", file,
			}})
			if res.Code != 0 {
				t.Errorf("build %d ended with %d:\n%s", n, res.Code, res.Stderr)
				return
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
			}
			digests[n] = string(b)
		})
	}
	all.Go(func() {
		for range 5 {
			time.Sleep(300 * time.Millisecond)
			_, _ = command(t, warmer, "gc", "--cache-dir", cache) // the directory may not be there yet
		}
	})
	all.Wait()
	for _, d := range digests {
		if d == "" || d != digests[0] {
			t.Fatalf("builds differ: %v", digests)
		}
	}
	must(t, warmer, "--cache-dir", cache, "--image", ref, "--force")
	must(t, warmer, "verify", "--cache-dir", cache)
	must(t, warmer, "gc", "--cache-dir", cache, "--grace", "0")
	left, err := filepath.Glob(filepath.Join(cache, "ingest", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range left {
		if !strings.HasPrefix(filepath.Base(p), "lock-") {
			t.Errorf("left by the killed: %s", p)
		}
	}
	res := run(t, testkit.Build{Context: context, Args: []string{"--cache-dir", cache, "--offline", "--reproducible", "--digest-file", filepath.Join(cache, "../digest")}})
	if b, _ := os.ReadFile(filepath.Join(cache, "../digest")); res.Code != 0 || string(b) != digests[0] {
		t.Errorf("built offline: %d, %s, want %s\n%s", res.Code, b, digests[0], res.Stderr)
	}
}

func run(t *testing.T, b testkit.Build) testkit.Result {
	t.Helper()
	res, err := kit.Run(t.Context(), b)
	if err != nil {
		t.Error(fmt.Errorf("run: %w", err))
	}
	return res
}
