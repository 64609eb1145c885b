package run_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
)

// TestCollectCaches removes what is old or too much, and never what a step has.
func TestCollectCaches(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		fill := func(id string) {
			t.Helper()
			r := b.run(t.Context(), step("head -c 1000000 /dev/urandom >/c/big; mkdir -p /c/d; chmod 555 /c/d", mount(shared(id, graph.SharingLocked))))
			if r.err != nil {
				t.Fatal(r.err)
			}
		}
		fill("one")
		time.Sleep(20 * time.Millisecond)
		fill("two")
		left := func() int { return len(cacheDirs(t, b)) }
		collect := func(age time.Duration, size int64, dry bool) int {
			t.Helper()
			gone, err := b.Caches.Collect(context.Background(), age, size, dry)
			if err != nil {
				t.Fatal(err)
			}
			return len(gone)
		}
		list, err := b.Caches.List()
		if err != nil || len(list) != 2 || list[0].Size < 1_000_000 || list[1].Used.Before(list[0].Used) {
			t.Fatalf("listed %+v, %v", list, err)
		}
		if n := collect(time.Hour, 10<<20, false); n != 0 || left() != 2 {
			t.Errorf("young and small: %d removed, %d left", n, left())
		}
		if n := collect(0, 1_500_000, true); n != 1 || left() != 2 {
			t.Errorf("dry: %d removed, %d left", n, left())
		}
		if n := collect(0, 1_500_000, false); n != 1 || left() != 1 {
			t.Errorf("too much: %d removed, %d left", n, left())
		}
		// What killed builds leave.
		for _, d := range []string{"new-" + strings.Repeat("a", 32) + "-123", "old-1"} {
			if err := os.Mkdir(filepath.Join(b.Caches.Dir, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		long := time.Now().Add(-48 * time.Hour)
		if err := os.Chtimes(filepath.Join(b.Caches.Dir, "old-1"), long, long); err != nil {
			t.Fatal(err)
		}
		if n := collect(time.Nanosecond, 0, false); n != 1 || left() != 0 {
			t.Errorf("all old: %d removed, %d left", n, left())
		}
		if found, _ := filepath.Glob(filepath.Join(b.Caches.Dir, "[no][el][wd]-*")); len(found) > 0 {
			t.Errorf("left over: %v", found)
		}
	})
}

// TestCollectSparesCaches that steps have.
func TestCollectSparesCaches(t *testing.T) {
	b := newBed(t, "overlay")
	done := make(chan error)
	go func() {
		done <- b.run(t.Context(), step("touch /c/held; while [ ! -e /c/go ]; do sleep 0.05; done", mount(shared("c", graph.SharingShared)))).err
	}()
	var held []string
	for len(held) == 0 {
		time.Sleep(20 * time.Millisecond)
		held, _ = filepath.Glob(filepath.Join(b.Caches.Dir, "*", "held"))
	}
	gone, err := b.Caches.Collect(t.Context(), time.Nanosecond, 1, false)
	if err != nil || len(gone) > 0 {
		t.Errorf("removed %v, %v", gone, err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(held[0]), "go"), nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
