package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/store"
)

// aged makes everything about an image's use look as old as given.
func aged(t *testing.T, s *store.Store, ref string, i *image, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	repo, tag, _ := strings.Cut(ref, ":")
	for _, p := range []string{
		filepath.Join("refs/docker.io/library", repo, "_tags", tag),
		filepath.Join("uses/sha256", i.root.Digest.Hex),
	} {
		if err := os.Chtimes(filepath.Join(s.Path(), p), at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func refs(t *testing.T, s *store.Store) (out []string) {
	t.Helper()
	list, err := s.Refs()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		out = append(out, r.Ref)
	}
	return out
}

func TestCollect(t *testing.T) {
	const day = 24 * time.Hour
	names := []string{"a:1", "b:1", "c:1"}
	full := func(n ...string) (out []string) {
		for _, x := range n {
			out = append(out, "docker.io/library/"+x)
		}
		return out
	}
	for name, c := range map[string]struct {
		policy store.Policy
		left   []string
	}{
		"nothing to do":  {store.Policy{}, full(names...)},
		"unused":         {store.Policy{UnusedFor: 5 * day}, full("a:1")},
		"unused, kept":   {store.Policy{UnusedFor: 5 * day, Keep: []string{"c:1"}}, full("a:1", "c:1")},
		"kept by a repo": {store.Policy{UnusedFor: 5 * day, Keep: []string{"docker.io/library/b"}}, full("a:1", "b:1")},
		"kept by glob":   {store.Policy{UnusedFor: 5 * day, Keep: []string{"docker.io/library/*"}}, full(names...)},
		"size":           {store.Policy{MaxSize: 180_000}, full("a:1", "b:1")},
		"size, kept":     {store.Policy{MaxSize: 180_000, Keep: []string{"c:1"}}, full("a:1", "c:1")},
		"size of one":    {store.Policy{MaxSize: 100_000}, full("a:1")},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{})
			images := make([]*image, len(names))
			for n, ref := range names {
				images[n] = newImage(ref)
				if err := warm(t.Context(), s, ref, images[n]); err != nil {
					t.Fatal(err)
				}
				aged(t, s, ref, images[n], time.Duration(n)*10*day) // the last is the oldest
			}
			c.policy.Grace = -1
			out, err := s.Collect(t.Context(), c.policy)
			if err != nil {
				t.Fatal(err)
			}
			if got := refs(t, s); !slices.Equal(got, c.left) {
				t.Errorf("left %v, want %v (%+v)", got, c.left, out)
			}
			for n, ref := range names {
				if slices.Contains(c.left, "docker.io/library/"+ref) {
					complete(t, s, ref, images[n])
					continue
				}
				if found, _ := filepath.Glob(filepath.Join(s.Path(), "*", "*", images[n].root.Digest.Hex+"*")); len(found) > 0 {
					t.Errorf("left of %s: %v", ref, found)
				}
				if found, _ := filepath.Glob(filepath.Join(s.Path(), "trees", images[n].root.Digest.Hex+"*")); len(found) > 0 {
					t.Errorf("left of %s: %v", ref, found)
				}
			}
			healthy(t, s.Path())
		})
	}
}

// TestCollectSpares leaves alone what is on its way, in use, or shared.
func TestCollectSpares(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{})
	young, i := []byte("on its way"), newImage("a")
	if _, err := s.Put(t.Context(), describe(young), bytesOf(young)); err != nil {
		t.Fatal(err)
	}
	if err := warm(t.Context(), s, "a:1", i); err != nil {
		t.Fatal(err)
	}
	if err := warm(t.Context(), s, "a:2", i); err != nil {
		t.Fatal(err)
	}
	w, err := s.New()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprint(w, "being written")
	tree, err := s.Tree(i.root.Digest, "here")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := s.DeleteRef("a:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), store.Policy{}); err != nil {
		t.Fatal(err)
	}
	complete(t, s, "a:2", i)
	if !s.Has(describe(young)) {
		t.Error("took what was on its way")
	}
	if err := s.DeleteRef("a:2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), store.Policy{Grace: -1}); err != nil {
		t.Fatal(err)
	}
	if s.Has(describe(young)) || s.Has(i.root) {
		t.Error("kept what nobody names")
	}
	if b, err := os.ReadFile(filepath.Join(tree.Dir, "file")); string(b) != "content" {
		t.Errorf("a tree in use went away: %v", err)
	}
	if d, err := w.Commit(); err != nil || !s.Has(d) {
		t.Errorf("what was being written: %v", err)
	}
}
