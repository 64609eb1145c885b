package source

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strake-build/strake/shared/layer"
)

// What Select takes of a whole directory is what Local takes from the disk.
func TestSelectAsLocal(t *testing.T) {
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		growTree(t, rnd, dir, 4)
		all, err := Local(t.Context(), dir, Filter{})
		check(t, err)
		for range 12 {
			f := Filter{Include: randomPatterns(rnd, true), Exclude: randomPatterns(rnd, true), Follow: randomPatterns(rnd, false)}
			want, err := Local(t.Context(), dir, f)
			check(t, err)
			got, err := Select(t.Context(), all, f)
			if err != nil {
				t.Fatalf("seed %d, %q: %v", seed, f, err)
			}
			if d := cmp.Diff(describe(want), describe(got)); d != "" {
				t.Fatalf("seed %d, %q: Local -, Select +\n%s", seed, f, d)
			}
		}
	}
}

func TestSelectOwners(t *testing.T) {
	in := layer.NewTable()
	file := &layer.Inode{Kind: layer.Regular, Mode: 0o640, UID: 1000, GID: 7, ModTime: time.Unix(9, 0)}
	in.Make("implied/by").Set(&layer.Node{Name: "a", Inode: file})
	in.Root.Set(&layer.Node{Name: "b", Inode: file})
	got, err := Select(t.Context(), in.Seal(), Filter{})
	check(t, err)
	want := map[string]string{
		"b":            "1 0640 0:0 9000000000  size 0",
		"implied":      "0 0755 0:0 0 ",
		"implied/by":   "0 0755 0:0 0 ",
		"implied/by/a": "1 0640 0:0 9000000000  link b",
	}
	if d := cmp.Diff(want, describe(got)); d != "" {
		t.Error(d)
	}
	if file.UID != 1000 {
		t.Error("the table that was read from has changed")
	}
}
