package tree_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// envParent makes the test binary a build that is to be killed.
const envParent = "STRAKE_TEST_WORKSPACE_PARENT"

func TestMain(m *testing.M) {
	parent := os.Getenv(envParent)
	if parent == "" {
		os.Exit(m.Run())
	}
	w, err := tree.NewWorkspace(parent, layer.PackOptions{})
	if err != nil {
		panic(err)
	}
	d, err := w.NewDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(d, "big"), make([]byte, 1<<20), 0o400)
	}
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(w.Path() + "\n")
	for {
		time.Sleep(time.Hour)
		runtime.KeepAlive(w) // or its lock is collected with it
	}
}

// build starts a build in a process of its own and returns its workspace.
func build(t *testing.T, parent string) (dir string, kill func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), envParent+"="+parent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	return line[:len(line)-1], kill
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// TestLeftovers kills a build: the next one removes what it left, and nothing of
// those that live.
func TestLeftovers(t *testing.T) {
	parent := t.TempDir()
	alive, _ := build(t, parent)
	dead, kill := build(t, parent)
	kill()
	if err := os.Mkdir(filepath.Join(parent, "mounts"), 0o700); err != nil {
		t.Fatal(err)
	}
	// One that was killed before it had locked its directory.
	early := filepath.Join(parent, "build-early")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(parent, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(early, 0o700); err != nil {
		t.Fatal(err)
	}
	ours, err := tree.NewWorkspace(link, layer.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := tree.NewWorkspace(parent, layer.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{alive + "/l/1/big": true, dead: false, early: false, ours.Path(): true, other.Path(): true, filepath.Join(parent, "mounts"): true} {
		if exists(dir) != want {
			t.Errorf("%s is there: %v, want %v", dir, !want, want)
		}
	}
	if err := ours.Close(); err != nil || exists(ours.Path()) || !exists(other.Path()) {
		t.Errorf("closing a workspace: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}

// TestWorkspacesAtOnce opens and closes workspaces in one directory: none touches
// another's.
func TestWorkspacesAtOnce(t *testing.T) {
	parent := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				w, err := tree.NewWorkspace(parent, layer.PackOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				d, err := w.NewDir()
				if err != nil {
					t.Error(err)
				}
				if err := os.WriteFile(filepath.Join(d, "f"), nil, 0o600); err != nil {
					t.Error(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
