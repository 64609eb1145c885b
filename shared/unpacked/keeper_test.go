package unpacked_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/unpacked"
)

type entry struct {
	name, link, body string
	typ              byte
	mode             int64
	uid              int
	xattrs           map[string]string
}

func pack(t testing.TB, entries []entry) (blob []byte, diffID v1.Hash) {
	t.Helper()
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.typ, Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(e.body)), ModTime: time.Unix(1e9, 0), Format: tar.FormatPAX}
		for k, v := range e.xattrs {
			h.PAXRecords = map[string]string{"SCHILY.xattr." + k: v}
		}
		if e.typ == tar.TypeChar {
			h.Devmajor, h.Devminor = 1, 3
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	diffID, _, _ = v1.SHA256(bytes.NewReader(plain.Bytes()))
	var zip bytes.Buffer
	zw := gzip.NewWriter(&zip)
	if _, err := zw.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return zip.Bytes(), diffID
}

var long = strings.Repeat("content ", 40_000)

func layers() [][]entry {
	return [][]entry{{
		{name: "bin/", typ: tar.TypeDir, mode: 0o755},
		{name: "bin/sh", typ: tar.TypeReg, mode: 0o4755, body: long},
		{name: "bin/ash", typ: tar.TypeLink, link: "bin/sh"},
		{name: "etc/", typ: tar.TypeDir, mode: 0o750, uid: 42},
		{name: "etc/passwd", typ: tar.TypeReg, mode: 0o600, uid: 7, body: "root"},
		{name: "etc/link", typ: tar.TypeSymlink, link: "/etc/passwd", uid: 9},
		{name: "dev/null", typ: tar.TypeChar, mode: 0o666},
		{name: "root/", typ: tar.TypeDir, mode: 0o700},
		{name: "root/secret", typ: tar.TypeReg, mode: 0o400, body: "x", xattrs: map[string]string{"user.note": "v"}},
	}, {
		{name: "etc/shadow", typ: tar.TypeReg, mode: 0o640, body: "below an implied directory"},
		{name: "bin/.wh.ash", typ: tar.TypeReg},
		{name: "copy", typ: tar.TypeLink, link: "bin/sh"},
		{name: "root/", typ: tar.TypeDir, mode: 0o711},
		{name: "root/.wh..wh..opq", typ: tar.TypeReg},
	}}
}

// bed is a store with the blobs of an image.
type bed struct {
	dir   string
	blobs []layer.Blob
	reads int
}

func newBed(t *testing.T) *bed {
	t.Helper()
	return newBedOf(t)
}

func (b *bed) store(t testing.TB) *store.Store {
	s, err := store.Open(b.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bed) keep(t testing.TB, trees bool) *unpacked.Keeper {
	t.Helper()
	s := b.store(t)
	x, err := sandbox.UserXattrs(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	k := &unpacked.Keeper{Store: s, Trees: trees, UserXattr: x, Notice: func(l string) { t.Log(l) }}
	if err := k.Keep(t.Context(), b.blobs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// describe lists what a tree shows and where its bytes are the same.
func describe(t testing.TB, tr tree.Tree) string {
	t.Helper()
	v, err := tr.View(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var walk func(f *tree.File)
	walk = func(f *tree.File) {
		body := ""
		if f.Content != nil {
			r, err := f.Content.Open()
			if err != nil {
				t.Fatalf("%s: %v", f.Path, err)
			}
			b, err := io.ReadAll(r)
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			sum, _, _ := v1.SHA256(bytes.NewReader(b))
			body = sum.Hex[:8]
		}
		fmt.Fprintf(&out, "/%s %d %o %d:%d %d %s %s %v\n", f.Path, f.Kind, f.Mode, f.UID, f.GID, f.Size, f.Target, body, f.Xattrs)
		for _, c := range v.ReadDir(f) {
			walk(c)
		}
	}
	walk(v.Root())
	return out.String()
}

func (b *bed) tree(t testing.TB, k tree.Kept, overlay bool) (tree.Tree, *tree.Workspace) {
	t.Helper()
	w, err := tree.NewWorkspace(filepath.Join(t.TempDir(), "w"), layer.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	w.Kept = k
	if overlay {
		x, err := sandbox.UserXattrs(w.Path())
		if err != nil {
			t.Fatal(err)
		}
		w.UseOverlay(x)
	}
	return w.Base(b.blobs), w
}

func listing(t testing.TB, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -printf '%P %y %m %U:%G %s %l %n\n' | grep -v '^ d' | sed 's/ d \([0-9]* [0-9:]*\) .*/ d \1/' | sort; getfattr -Rhd -m - . 2>/dev/null | sort`, "sh", dir+"/.").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestKept builds on what was kept, and on the same blobs without: both show the
// same, and the directories are the same.
func TestKept(t *testing.T) {
	b := newBed(t)
	plain, _ := b.tree(t, nil, true)
	want := describe(t, plain)
	wantDirs, err := plain.Dirs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, trees := range []bool{false, true} {
		k := b.keep(t, trees)
		for _, overlay := range []bool{false, true} {
			t.Run(fmt.Sprintf("trees=%t,overlay=%t", trees, overlay), func(t *testing.T) {
				b.reads = 0
				got, _ := b.tree(t, k, overlay)
				v, err := got.View(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if b.reads > 0 {
					t.Errorf("a blob was read to look inside")
				}
				_ = v
				if d := describe(t, got); d != want {
					t.Errorf("shows\n%s\nwant\n%s", d, want)
				}
				if trees && b.reads > 0 {
					t.Errorf("%d blobs were read", b.reads)
				}
				if !overlay || os.Geteuid() != 0 {
					return
				}
				dirs, err := got.Dirs(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for i := range dirs {
					if g, w := listing(t, dirs[i]), listing(t, wantDirs[i]); g != w {
						t.Errorf("layer %d is\n%s\nwant\n%s", i, g, w)
					}
				}
			})
		}
	}
}

// TestKeptOnce does the work once.
func TestKeptOnce(t *testing.T) {
	b := newBed(t)
	b.keep(t, true)
	b.reads = 0
	b.keep(t, true)
	if b.reads > 0 {
		t.Errorf("%d blobs were read again", b.reads)
	}
}

// TestTouched changes something in a kept directory in each way; it is not used
// then, and the next keeping makes it anew.
func TestTouched(t *testing.T) {
	for name, touch := range map[string]func(dir string) error{
		"content, with the old time": func(d string) error {
			p := filepath.Join(d, "etc/passwd")
			fi, err := os.Stat(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(p, []byte("toor"), 0o600); err != nil {
				return err
			}
			return os.Chtimes(p, fi.ModTime(), fi.ModTime())
		},
		"mode":    func(d string) error { return os.Chmod(filepath.Join(d, "bin/sh"), 0o755) },
		"removed": func(d string) error { return os.Remove(filepath.Join(d, "etc/link")) },
		"added":   func(d string) error { return os.WriteFile(filepath.Join(d, "etc/new"), nil, 0o600) },
		"swapped": func(d string) error {
			return os.Rename(filepath.Join(d, "root/secret"), filepath.Join(d, "etc/passwd"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.keep(t, true).Close()
			plain, _ := b.tree(t, nil, false)
			want := describe(t, plain)
			dirs, err := filepath.Glob(filepath.Join(b.dir, "trees", b.blobs[0].Digest.Hex+".*", "fs"))
			if err != nil || len(dirs) != 1 {
				t.Fatal(dirs, err)
			}
			time.Sleep(5 * time.Millisecond) // a tick of the clock
			if err := touch(dirs[0]); err != nil {
				t.Fatal(err)
			}
			ro, err := store.Open(b.dir, store.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			got, _ := b.tree(t, &unpacked.Keeper{Store: ro}, false)
			if d := describe(t, got); d != want {
				t.Errorf("shows\n%s\nwant\n%s", d, want)
			}
			k := b.keep(t, true)
			b.reads = 0
			mended, _ := b.tree(t, k, true)
			if d := describe(t, mended); d != want || b.reads > 0 {
				t.Errorf("after mending, with %d reads:\n%s\nwant\n%s", b.reads, d, want)
			}
		})
	}
}

// TestAhead looks at directories before they are asked for.
func TestAhead(t *testing.T) {
	b := newBed(t)
	k := b.keep(t, true)
	var all []v1.Hash
	for _, l := range b.blobs {
		all = append(all, l.Digest)
	}
	b.reads = 0
	plain, _ := b.tree(t, nil, true)
	want := describe(t, plain)
	for range 2 {
		k.Ahead(t.Context(), all)
		k.Ahead(t.Context(), all)
		b.reads = 0
		got, _ := b.tree(t, k, true)
		if d := describe(t, got); d != want || b.reads > 0 {
			t.Errorf("%d blobs were read; it shows\n%s\nwant\n%s", b.reads, d, want)
		}
	}
	// A look that was broken off says nothing about what is there.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if l, err := k.Layer(ctx, tree.KeptQuery{Blob: b.blobs[0], Chain: b.blobs[0].DiffID, Overlay: true}); l != nil && l.Dir != "" || err == nil {
		t.Errorf("broken off: %+v, %v", l, err)
	}
	if dirs, err := filepath.Glob(filepath.Join(b.dir, "trees", "*", "fs")); err != nil || len(dirs) != len(all) {
		t.Errorf("kept are %v, %v", dirs, err)
	}
}

// TestNoSpace keeps layers on a disk that is too small, larger and larger: nothing
// half-made is left, and nothing wrong is ever seen.
func TestNoSpace(t *testing.T) {
	if os.Geteuid() != 0 || sandbox.NeedsUserNamespace() {
		t.Skip("wants root, to mount a small disk")
	}
	plain, _ := newBed(t).tree(t, nil, false)
	want := describe(t, plain)
	kept := false
	for size := 64 << 10; !kept; size += 96 << 10 {
		dir := t.TempDir()
		if err := unix.Mount("small", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		b := &bed{dir: filepath.Join(dir, "cache")}
		b.fill(t, b.store(t))
		k := &unpacked.Keeper{Store: b.store(t), Trees: true}
		err := k.Keep(t.Context(), b.blobs)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%d bytes: %v", size, err)
		}
		kept = err == nil
		if left, err := filepath.Glob(filepath.Join(b.dir, "ingest", "tree-*")); err != nil || len(left) > 0 {
			t.Errorf("%d bytes: left behind: %v, %v", size, left, err)
		}
		got, _ := b.tree(t, k, false)
		if d := describe(t, got); d != want {
			t.Errorf("%d bytes: shows\n%s\nwant\n%s", size, d, want)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		if size > 16<<20 {
			t.Fatal("it never fits")
		}
	}
}

// TestKeptBelowDamage has a layer that asks about one below it which cannot be had:
// nothing is kept that was made without the answer.
func TestKeptBelowDamage(t *testing.T) {
	b := newBed(t)
	open := b.blobs[0].Open
	b.blobs[0].Open = func() (io.ReadCloser, error) { return nil, errors.New("it is gone") }
	k := &unpacked.Keeper{Store: b.store(t), Trees: true}
	if err := k.Keep(t.Context(), b.blobs); err == nil || !strings.Contains(err.Error(), "it is gone") {
		t.Errorf("kept: %v", err)
	}
	if kinds := k.Store.Trees(b.blobs[1].Digest); len(kinds) > 0 {
		t.Errorf("the layer above is kept as %v", kinds)
	}
	b.blobs[0].Open = open
	plain, _ := b.tree(t, nil, false)
	got, _ := b.tree(t, b.keep(t, true), false)
	if d, want := describe(t, got), describe(t, plain); d != want {
		t.Errorf("shows\n%s\nwant\n%s", d, want)
	}
}
