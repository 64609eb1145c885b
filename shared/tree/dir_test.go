package tree_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

func file(content string) *layer.Inode {
	return &layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: int64(len(content)), Content: layer.Bytes(content)}
}

func TestDir(t *testing.T) {
	base := tree.NewView(table(t, "a/", "a/x=1", "a/d/", "a/d/y=2", "l->a", "implied/deep/z=3"))
	e := tree.NewEditor(base)
	open := func(p string) *tree.Dir {
		t.Helper()
		d, err := e.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, again, d := open("a"), open("a"), open("a/d")
	if tab := e.Table(); !tab.Empty() {
		t.Error("looking is a change")
	}
	d.Put("new", file("n"))
	a.Put("x", file("changed"))
	if f := again.Child("x"); f == nil || f.Size != 7 || f.Path != "a/x" {
		t.Errorf("another handle sees %+v", f)
	}
	// A directory that is removed and made again hides what it was.
	again.Remove("d")
	if a.Child("d") != nil {
		t.Error("what was removed is there")
	}
	a.Put("d", &layer.Inode{Kind: layer.Dir, Mode: 0o711})
	a.Put("x", &layer.Inode{Kind: layer.Dir})
	open("a/x").Put("below", file("b"))
	open("implied/deep").Remove("z")
	open("a").SetInode(&layer.Inode{Kind: layer.Dir, Mode: 0o700})
	if m := a.Inode().Mode; m != 0o700 {
		t.Errorf("mode is %o", m)
	}
	tab := e.Table()
	if got, want := list(t, tree.NewView(table(t, "a/", "a/x=1", "a/d/", "a/d/y=2", "l->a", "implied/deep/z=3"), tab)), "a/ a/d/ a/x/ a/x/below=b implied/ implied/deep/ l->a"; got != want {
		t.Errorf("view is %s, want %s", got, want)
	}
	if n := tab.Lookup("a/d"); !n.Opaque || n.Len() != 0 {
		t.Errorf("a/d is %+v", n)
	}
	if n := tab.Lookup("implied"); n.Inode != nil {
		t.Error("the changeset describes a directory that no layer describes")
	}
	for p, want := range map[string]error{"l": syscall.ENOTDIR, "a/d/y": fs.ErrNotExist, "a/x/below": syscall.ENOTDIR} {
		if _, err := e.Open(p); !errors.Is(err, want) {
			t.Errorf("open %s: %v, want %v", p, err, want)
		}
	}
}
