package run

import (
	"testing"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// TestForget lays down which directories above a mount are no change.
func TestForget(t *testing.T) {
	dir := func(mode uint32, at int64) *layer.Inode {
		return &layer.Inode{Kind: layer.Dir, Mode: mode, ModTime: time.Unix(at, 0)}
	}
	base := layer.NewTable()
	base.Make("run").Inode = dir(0o755, 1)
	before := tree.NewView(base.Seal())
	for _, c := range []struct {
		name   string
		change func(*layer.Table)
		run    bool // run is still in the table
	}{
		{"the runtime's directory", func(t *layer.Table) { t.Make("run/secrets").Inode = dir(0o755, 2) }, false},
		{"another time", func(t *layer.Table) { t.Make("run").Inode = dir(0o755, 2) }, false},
		{"another mode", func(t *layer.Table) { t.Make("run").Inode = dir(0o700, 1) }, true},
		{"a file beside", func(t *layer.Table) {
			t.Make("run").Inode = dir(0o755, 2)
			t.Make("run/x").Inode = dir(0o755, 2)
		}, true},
	} {
		table := layer.NewTable()
		table.Make("run").Inode = dir(0o755, 2)
		c.change(table)
		forget(table, before, "run/secrets")
		forget(table, before, "run")
		if table.Lookup("run/secrets") != nil {
			t.Errorf("%s: the directory above the mount is in the layer", c.name)
		}
		if got := table.Lookup("run") != nil; got != c.run {
			t.Errorf("%s: the layer has run: %v; want %v", c.name, got, c.run)
		}
	}
}
