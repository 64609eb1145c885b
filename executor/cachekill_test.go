package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCacheSharedAndKilled has builds share a directory at once, some of which are
// killed: whoever lives builds the same image, and the directory is whole.
func TestCacheSharedAndKilled(t *testing.T) {
	r := newManySteps(t)
	shared := "oci:" + filepath.Join(t.TempDir(), "layers")
	want, _ := r.build("--no-push")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "executor")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	digest := strings.TrimSpace(want[strings.Index(want, "sha256:"):])
	var wg sync.WaitGroup
	for i := range 5 {
		home := t.TempDir()
		cmd := exec.CommandContext(t.Context(), link, "-c", r.context, "--build-arg", "BASE="+r.Ref("busybox:1"), "--no-push", "--reproducible", "--cache", "--cache-repo", shared)
		cmd.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+home, "KANIKO_DIR="+filepath.Join(home, "strake"), "NO_COLOR=1")
		var out, log strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &log
		wg.Go(func() {
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			kill := i < 3
			if kill {
				time.AfterFunc(time.Duration(300+400*i)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
			if err := cmd.Wait(); err != nil && !kill {
				t.Errorf("%v\n%s", err, log.String())
			} else if err == nil && strings.TrimSpace(out.String()) != digest {
				t.Errorf("built %s, want %s", out.String(), digest)
			}
		})
	}
	wg.Wait()
	if out, err := exec.CommandContext(t.Context(), link, "cache", "verify", "--cache-repo", shared).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	out, log := r.build("--no-push", "--cache", "--cache-repo", shared)
	if !strings.Contains(out, digest) || !strings.Contains(log, "cache: 12 of 12 steps found") {
		t.Error(fmt.Sprint(out, log))
	}
}
