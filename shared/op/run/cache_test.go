package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// shared is a cache mount on /c.
func shared(id string, how graph.Sharing) graph.Mount {
	return graph.Mount{Type: graph.MountCache, Target: "/c", Cache: &graph.CacheMount{ID: id, Sharing: how}}
}

// atOnce runs two steps that each wait for the other's mark in a cache, for a
// second at most, and tells how many saw it.
func atOnce(t *testing.T, b *bed, m graph.Mount) int {
	t.Helper()
	const script = "echo 1 >c/%; for i in 1 2 3 4 5 6 7 8; do [ $(ls c | wc -l) = 2 ] && echo saw && exit; sleep 0.1; done; rm c/%"
	done := make(chan result)
	for _, name := range []string{"a", "b"} {
		go func() { done <- b.run(t.Context(), step(strings.ReplaceAll(script, "%", name), mount(m))) }()
	}
	n := 0
	for range 2 {
		r := <-done
		if r.err != nil {
			t.Error(r.err)
		}
		n += strings.Count(r.out, "saw")
	}
	return n
}

func TestSharing(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		want := 2
		if !b.Sandbox.View().Layered {
			want = 0 // one after the other
		}
		if n := atOnce(t, b, shared("s", graph.SharingShared)); n != want {
			t.Errorf("shared: %d saw the other, want %d", n, want)
		}
		if n := atOnce(t, b, shared("l", graph.SharingLocked)); n != 0 {
			t.Errorf("locked: %d saw the other", n)
		}
		if n := atOnce(t, b, shared("p", graph.SharingPrivate)); n != 0 {
			t.Errorf("private: %d saw the other", n)
		}
		if dirs := cacheDirs(t, b); len(dirs) != 4 {
			t.Errorf("there are %d directories, want one each and two private ones: %v", len(dirs), dirs)
		}
	})
}

func cacheDirs(t *testing.T, b *bed) (dirs []string) {
	t.Helper()
	entries, err := os.ReadDir(b.Caches.Dir)
	must(t, err)
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs
}

func TestCacheStays(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		// An ID is only a name, whatever it looks like.
		for _, id := range []string{"plain", "../../../../etc", "/abs", "a/b", "", strings.Repeat("x", 300)} {
			m := shared(id, graph.SharingShared)
			r := b.run(t.Context(), step("ls c; stat -c '%a %u:%g' c; echo 1 >c/f; mkdir -p c/d; ln -s /etc c/l", mount(m)))
			r.want(t, "755 0:0\n")
			if got := r.changes(t); got != "" {
				t.Errorf("the layer has\n%s", got)
			}
			b.run(t.Context(), step("ls c; cat c/f", mount(m))).want(t, "d\nf\nl\n1\n")
		}
		if got, want := len(cacheDirs(t, b)), 6; got != want {
			t.Errorf("there are %d caches, want %d", got, want)
		}
		outside, err := os.ReadDir(b.dir)
		if err != nil || len(outside) != 2 {
			t.Errorf("in the builder's directory: %v, %v", outside, err)
		}
	})
}

// TestCacheTwice mounts one cache at two places of a step.
func TestCacheTwice(t *testing.T) {
	b := newBed(t, "overlay")
	one, two := shared("x", graph.SharingLocked), shared("x", graph.SharingLocked)
	two.Target = "/d"
	b.run(t.Context(), step("echo 1 >c/f; cat d/f", mount(one), mount(two))).want(t, "1\n")
}

// TestCacheOrder has steps that want the same caches, sorted otherwise by their targets.
func TestCacheOrder(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		mounts := func(first, second string) []func(*graph.Exec) {
			one, two := shared(first, graph.SharingLocked), shared(second, graph.SharingLocked)
			two.Target = "/d"
			return []func(*graph.Exec){mount(one), mount(two)}
		}
		done := make(chan result)
		for range 4 {
			go func() { done <- b.run(t.Context(), step("true", mounts("x", "y")...)) }()
			go func() { done <- b.run(t.Context(), step("true", mounts("y", "x")...)) }()
		}
		for range 8 {
			(<-done).want(t, "")
		}
	})
}

// TestSeeds starts caches with something.
func TestSeeds(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		owned := layer.NewTable()
		owned.Make("cache").Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o2750, UID: 1000, GID: 1001, ModTime: old}
		seed := func(in int, selector string) graph.Mount {
			m := shared("s", graph.SharingShared)
			m.Input, m.Selector = in+1, selector
			return m
		}
		inputs := []tree.Tree{tree.Of(b.Workspace.FromTable(owned.Seal())), b.tree("start/f=1", "start/d/")}
		const look = "stat -c '%a %u:%g' c; ls c; echo 1 >c/new"
		b.run(t.Context(), step(look, mount(seed(1, "/cache"))), inputs...).want(t, "2750 1000:1001\n")
		b.run(t.Context(), step(look, mount(seed(2, "start"))), inputs...).want(t, "755 0:0\nd\nf\n")
		// The same ID over another start is another cache.
		b.run(t.Context(), step(look, mount(seed(1, "cache"))), inputs...).want(t, "2750 1000:1001\nnew\n")
		b.run(t.Context(), step(look, mount(shared("s", graph.SharingShared)))).want(t, "755 0:0\n")
		if r := b.run(t.Context(), step("true", mount(seed(2, "none"))), inputs...); r.err == nil {
			t.Error("a cache started with nothing")
		}
		for _, name := range cacheDirs(t, b) {
			if strings.HasPrefix(filepath.Base(name), "new-") {
				t.Errorf("%s is left", name)
			}
		}
	})
}
