package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/store"
)

func open(t testing.TB, dir string, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func describe(b []byte) v1.Descriptor {
	d, n, _ := v1.SHA256(bytes.NewReader(b))
	return v1.Descriptor{Digest: d, Size: n}
}

func bytesOf(b []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// image is an image of made-up content: its documents and layers.
type image struct {
	root  v1.Descriptor
	blobs [][]byte
}

func newImage(seed string) *image {
	config := []byte(`{"config":"` + seed + `"}`)
	l1, l2 := bytes.Repeat([]byte(seed+"one"), 1<<10), bytes.Repeat([]byte(seed+"two"), 1<<12)
	m, _ := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: describe(config), Layers: []v1.Descriptor{describe(l1), describe(l2)},
	})
	root := describe(m)
	root.MediaType = types.OCIManifestSchema1
	return &image{root: root, blobs: [][]byte{l1, l2, config, m}}
}

// warm is what a warmer does, in its order.
func warm(ctx context.Context, s *store.Store, ref string, i *image) error {
	defer s.Lease()()
	for _, b := range i.blobs {
		if _, err := s.Put(ctx, describe(b), bytesOf(b)); err != nil {
			return err
		}
	}
	if err := s.SetRef(store.Record{Ref: ref, Root: i.root, ResolvedAt: time.Now()}); err != nil {
		return err
	}
	if err := s.PutNote(i.root.Digest, "table", []byte("a table")); err != nil {
		return err
	}
	err := s.PutTree(i.root.Digest, func(dir string) (string, []byte, error) {
		return "here", []byte("noted"), os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600)
	})
	if err != nil {
		return err
	}
	s.Touch(i.root.Digest)
	return s.WriteIndex()
}

// complete fails the test unless the image is there and right.
func complete(t testing.TB, s *store.Store, ref string, i *image) {
	t.Helper()
	r, err := s.Ref(ref)
	if err != nil {
		t.Fatal(err)
	}
	if r.Root.Digest != i.root.Digest || r.Root.Size != i.root.Size || r.Root.MediaType != i.root.MediaType {
		t.Errorf("%s is %v, want %v", ref, r.Root, i.root)
	}
	for _, want := range i.blobs {
		rc, err := s.Open(describe(want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		rc.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("blob of %d bytes: %v", len(want), err)
		}
	}
	tree, err := s.Tree(i.root.Digest, "here")
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if b, err := os.ReadFile(filepath.Join(tree.Dir, "file")); string(b) != "content" || string(tree.Note) != "noted" {
		t.Errorf("tree has %q, %q, %v", b, tree.Note, err)
	}
}

func TestWarmAndRead(t *testing.T) {
	old := syscall.Umask(0o077) // of a shell that means well
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "cache")
	s := open(t, dir, store.Options{})
	i := newImage("a")
	if err := warm(t.Context(), s, "alpine:3", i); err != nil {
		t.Fatal(err)
	}
	read := open(t, dir, store.Options{ReadOnly: true})
	complete(t, read, "docker.io/library/alpine:3", i)
	complete(t, read, "index.docker.io/library/alpine:3", i)
	if _, err := read.Ref("alpine:4"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that is not there: %v", err)
	}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if want := map[bool]fs.FileMode{true: 0o755, false: 0o644}[e.IsDir()]; fi.Mode().Perm() != want && p != dir && !strings.Contains(p, "/trees/") {
			t.Errorf("%s has mode %v: others cannot read it", p, fi.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPutRefusesOtherBytes(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{})
	want := describe([]byte("what was promised"))
	for _, got := range []string{"what was promisee", "what was promised and more", "what"} {
		_, err := s.Put(t.Context(), want, bytesOf([]byte(got)))
		if !errors.Is(err, store.ErrIntegrity) {
			t.Errorf("put %q: %v", got, err)
		}
	}
	if s.Has(want) {
		t.Error("wrong bytes got in")
	}
	left, err := filepath.Glob(filepath.Join(s.Path(), "ingest", "[0-9a-f]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestDamage spoils a blob in every way there is; none gets through, and the
// next warming mends it.
func TestDamage(t *testing.T) {
	content := bytes.Repeat([]byte("layer"), 4000)
	d := describe(content)
	for name, spoil := range map[string]func(t *testing.T, path string) error{
		"truncated": func(_ *testing.T, p string) error { return os.Truncate(p, 100) },
		"empty":     func(_ *testing.T, p string) error { return os.Truncate(p, 0) },
		"altered": func(_ *testing.T, p string) error {
			b := bytes.Clone(content)
			b[777] ^= 1
			return os.WriteFile(p, b, 0o600)
		},
		"altered, with its time put back": func(_ *testing.T, p string) error {
			fi, err := os.Stat(p)
			if err != nil {
				return err
			}
			b := bytes.Clone(content)
			b[777] ^= 1
			return errors.Join(os.WriteFile(p, b, 0o600), os.Chtimes(p, fi.ModTime(), fi.ModTime()))
		},
		"longer": func(_ *testing.T, p string) error { return os.WriteFile(p, append(content, 'x'), 0o600) },
		"symlink": func(t *testing.T, p string) error {
			other := filepath.Join(t.TempDir(), "x")
			return errors.Join(os.WriteFile(other, content, 0o600), os.Remove(p), os.Symlink(other, p))
		},
		"pipe":      func(_ *testing.T, p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) },
		"directory": func(_ *testing.T, p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"swapped": func(_ *testing.T, p string) error {
			return os.WriteFile(p, bytes.Repeat([]byte("reyal"), 4000), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{})
			if _, err := s.Put(t.Context(), d, bytesOf(content)); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, filepath.Join(s.Path(), "blobs", "sha256", d.Digest.Hex)); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Open(d); err == nil {
				_, err = io.ReadAll(r)
				r.Close()
				if !errors.Is(err, store.ErrIntegrity) {
					t.Errorf("read: %v", err)
				}
			}
			fetched, err := s.Put(t.Context(), d, bytesOf(content))
			if err != nil {
				t.Fatal(err)
			}
			if !fetched {
				t.Error("the blob was taken for right")
			}
			r, err := s.Open(d)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
				t.Errorf("after mending: %v", err)
			}
		})
	}
}

// TestNoSpace lets the disk fill up at every step in turn.
func TestNoSpace(t *testing.T) {
	i := newImage("full")
	for at := 0; ; at++ {
		dir := filepath.Join(t.TempDir(), "cache")
		n := 0
		s, err := store.Open(dir, store.Options{Fault: func(step, _ string) error {
			if n++; n > at && step != "remove" && step != "lock" {
				return syscall.ENOSPC
			}
			return nil
		}})
		if err == nil {
			err = warm(t.Context(), s, "alpine:3", i)
		}
		if err == nil {
			complete(t, s, "alpine:3", i)
			if at < 20 {
				t.Errorf("done after %d steps: faults are not asked for everywhere", at)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("step %d: %v", at, err)
		}
		healthy(t, dir)
		s = open(t, dir, store.Options{})
		if err := warm(t.Context(), s, "alpine:3", i); err != nil {
			t.Fatalf("after step %d failed: %v", at, err)
		}
		complete(t, s, "alpine:3", i)
	}
}

// healthy fails the test when a store has anything wrong in it.
func healthy(t testing.TB, dir string) {
	t.Helper()
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := s.Blobs()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if err := s.CheckAll(t.Context(), b); err != nil {
			t.Error(err)
		}
	}
	refs, err := s.Refs()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range refs {
		if _, err := s.Read(r.Root, 1<<20); err != nil {
			t.Errorf("%s leads nowhere: %v", r.Ref, err)
		}
	}
}

func TestNamesStayInside(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{})
	root := newImage("x").root
	for _, ref := range []string{"../x:1", "a/../../x:1", "x:..", "x@sha256:../../x", "..:5000/x:1", "", "x:" + strings.Repeat("a", 200)} {
		if err := s.SetRef(store.Record{Ref: ref, Root: root}); err == nil {
			t.Errorf("%q is taken for a name", ref)
		}
	}
	for _, d := range []v1.Hash{{Algorithm: "sha256", Hex: "../../x"}, {Algorithm: "..", Hex: root.Digest.Hex}, {Algorithm: "sha256", Hex: strings.ToUpper(root.Digest.Hex)}, {}} {
		if _, err := s.Open(v1.Descriptor{Digest: d}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("digest %q: %v", d, err)
		}
	}
	// A repository may be the beginning of another's name, and a tag like a repository.
	for n, ref := range []string{"a:b", "a/b:c", "a/b/c:b", "a:c", "localhost:5000/a:b", "[::1]:5000/a:b"} {
		if err := s.SetRef(store.Record{Ref: ref, Root: root, From: fmt.Sprint(n)}); err != nil {
			t.Error(err)
		}
	}
	refs, err := s.Refs()
	if err != nil || len(refs) != 6 {
		t.Errorf("%d names, %v", len(refs), err)
	}
}

func TestForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(dir, store.Options{}); !errors.Is(err, store.ErrNotStore) {
		t.Errorf("opened somebody's home: %v", err)
	}
}

// TestAge has machines whose clocks are years off.
func TestAge(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		at   time.Time
		want bool // younger than a week
	}{
		"now": {now, true}, "a day": {now.AddDate(0, 0, -1), true}, "a month": {now.AddDate(0, -1, 0), false},
		"a clock a minute fast": {now.Add(time.Minute), true}, "a clock years fast": {now.AddDate(3, 0, 0), false},
		"1970": {time.Unix(0, 0), false}, "2106": {time.Unix(1<<32, 0), false}, "never": {time.Time{}, false},
	} {
		r := store.Record{ResolvedAt: c.at}
		if got := r.Age(now) < 7*24*time.Hour; got != c.want {
			t.Errorf("%s: age %v", name, r.Age(now))
		}
	}
}
