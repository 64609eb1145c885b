package fakeroot

import (
	"path/filepath"
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
	for _, f := range a.Files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			script := string(f.Data)
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
