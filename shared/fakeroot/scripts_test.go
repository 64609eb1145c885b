package fakeroot

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestScripts runs each script as real root and with the emulated identity: outputs and trees must be the same.
func TestScripts(t *testing.T) {
	t.Parallel()
	a, err := txtar.ParseFile(filepath.Join("testdata", "scripts.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	i386 := buildI386(t)
	for _, f := range a.Files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			if f.Name == "i386" && i386 == "" {
				t.Skip("wants a C compiler, and a kernel that runs 32-bit programs")
			}
			script := "I386=" + i386 + "\n" + string(f.Data)
			got := emulate(t, order{Dir: workDir(t, builderID), Args: []string{"sh", "-c", script}})
			want := reallyRoot(t, workDir(t, 0), script)
			if got.Err != "" {
				t.Error(got.Err)
			}
			if got.Code != want.Code {
				t.Errorf("code %d, as real root %d", got.Code, want.Code)
			}
			if d := cmp.Diff(want.Output, got.Output); d != "" {
				t.Errorf("output (-real +emulated):\n%s", d)
			}
			if d := cmp.Diff(want.Tree, got.Tree); d != "" {
				t.Errorf("tree (-real +emulated):\n%s", d)
			}
		})
	}
}

// buildI386 makes a 32-bit program, if that is possible here.
func buildI386(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return ""
	}
	src, err := filepath.Abs(filepath.Join("testdata", "i386.c"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(shared(t), "i386")
	out, err := exec.Command("gcc", "-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-no-pie", "-o", name, src).CombinedOutput()
	if err != nil {
		t.Logf("no 32-bit program: %v: %s", err, out)
		return ""
	}
	cmd := exec.Command(name)
	cmd.Dir = shared(t)
	if err := cmd.Run(); err != nil {
		t.Logf("no 32-bit program: %v", err)
		return ""
	}
	return name
}
