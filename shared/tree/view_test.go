package tree_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// table makes a changeset of lines: "dir/", "file=content", "link->target",
// "-removed", "dir/!" for an opaque directory.
func table(t *testing.T, lines ...string) *layer.Table {
	t.Helper()
	out := layer.NewTable()
	for _, l := range lines {
		name, content, isFile := strings.Cut(l, "=")
		link, target, isLink := strings.Cut(l, "->")
		switch {
		case strings.HasPrefix(l, "-"):
			out.Make(l[1:]).Whiteout = true
		case isLink:
			out.Make(link).Inode = &layer.Inode{Kind: layer.Symlink, Mode: 0o777, Target: target}
		case isFile:
			out.Make(name).Inode = &layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: int64(len(content)), Content: layer.Bytes(content)}
		case strings.HasSuffix(l, "/!"):
			n := out.Make(strings.TrimSuffix(l, "/!"))
			n.Inode, n.Opaque = &layer.Inode{Kind: layer.Dir, Mode: 0o700}, true
		default:
			out.Make(l).Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o755}
		}
	}
	return out.Seal()
}

// list is what a view shows, a path a line.
func list(t *testing.T, v *tree.View) string {
	t.Helper()
	var out []string
	err := v.Walk(v.Root(), func(f *tree.File) error {
		switch {
		case f.Path == "":
		case f.IsDir():
			out = append(out, f.Path+"/")
		case f.Kind == layer.Symlink:
			out = append(out, f.Path+"->"+f.Target)
		default:
			data, err := tree.ReadAll(f.Inode)
			if err != nil {
				return err
			}
			out = append(out, f.Path+"="+string(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestView(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][]string
		want   string
	}{
		{"one layer", [][]string{{"a/", "a/f=1", "b=2"}}, "a/ a/f=1 b=2"},
		{"upper file wins", [][]string{{"f=1"}, {"f=2"}}, "f=2"},
		{"directories join", [][]string{{"a/x=1"}, {"a/y=2"}}, "a/ a/x=1 a/y=2"},
		{"whiteout", [][]string{{"a/x=1", "a/y=1"}, {"-a/x"}}, "a/ a/y=1"},
		{"whiteout of a directory, made again", [][]string{{"a/x=1"}, {"-a"}, {"a/y=2"}}, "a/ a/y=2"},
		{"opaque", [][]string{{"a/x=1"}, {"a/!", "a/y=2"}}, "a/ a/y=2"},
		{"file over directory", [][]string{{"a/x=1"}, {"a=2"}}, "a=2"},
		{"directory over file hides what was below that", [][]string{{"a/x=1"}, {"a=2"}, {"a/y=3"}}, "a/ a/y=3"},
		{"symlink over directory", [][]string{{"a/x=1"}, {"a->b"}}, "a->b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tables []*layer.Table
			for _, l := range c.layers {
				tables = append(tables, table(t, l...))
			}
			if got := list(t, tree.NewView(tables...)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got := list(t, tree.NewView(layer.Squash(tables...))); got != c.want {
				t.Errorf("squashed: got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestSquashKeepsWhatItHides(t *testing.T) {
	base := table(t, "a/x=1", "b/x=1", "c=1")
	squashed := layer.Squash(table(t, "-a", "b=2", "-c"), table(t, "a/y=1", "b/y=1"))
	if got, want := list(t, tree.NewView(base, squashed)), "a/ a/y=1 b/ b/y=1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestResolve(t *testing.T) {
	v := tree.NewView(table(t, "usr/bin/sh=x", "bin->usr/bin", "abs->/usr", "up->../../../usr", "loop->loop", "dangling->nowhere/at/all", "etc/deep/link->../../usr/bin"))
	for _, c := range []struct {
		path, want string
		follow     bool
		err        error
	}{
		{path: "/bin/sh", want: "usr/bin/sh"},
		{path: "abs/bin/sh", want: "usr/bin/sh"},
		{path: "up/bin", want: "usr/bin"},
		{path: "etc/deep/link/sh", want: "usr/bin/sh"},
		{path: "bin", want: "bin"},
		{path: "bin", follow: true, want: "usr/bin"},
		{path: "../../bin/../lib/new", want: "usr/lib/new"},
		{path: "dangling", follow: true, want: "nowhere/at/all"},
		{path: "dangling/more", want: "nowhere/at/all/more"},
		{path: "new/../other", want: "other"},
		{path: "loop/x", err: syscall.ELOOP},
		{path: "usr/bin/sh/x", err: syscall.ENOTDIR},
	} {
		got, _, err := v.Resolve(c.path, c.follow)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Resolve(%q, %v) = %q, %v; want %q, %v", c.path, c.follow, got, err, c.want, c.err)
		}
	}
}

func TestLstatErrors(t *testing.T) {
	v := tree.NewView(table(t, "f=1", "d/"))
	if _, err := v.Lstat("d/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := v.Lstat("f/x"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
}

func TestEditor(t *testing.T) {
	file := func(s string) *layer.Inode {
		return &layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: int64(len(s)), Content: layer.Bytes(s)}
	}
	dir := &layer.Inode{Kind: layer.Dir, Mode: 0o711}
	base := table(t, "a/x=1", "a/sub/y=1", "f=1")
	for _, c := range []struct {
		name string
		edit func(e *tree.Editor) error
		want string
	}{
		{"put", func(e *tree.Editor) error { return e.Put("a/z", file("2")) }, "a/ a/sub/ a/sub/y=1 a/x=1 a/z=2 f=1"},
		{"replace", func(e *tree.Editor) error { return e.Put("a/x", file("2")) }, "a/ a/sub/ a/sub/y=1 a/x=2 f=1"},
		{"directory stays", func(e *tree.Editor) error { return e.Put("a", dir) }, "a/ a/sub/ a/sub/y=1 a/x=1 f=1"},
		{"remove", func(e *tree.Editor) error { return e.Remove("a") }, "f=1"},
		{"remove and make again", func(e *tree.Editor) error {
			return errors.Join(e.Remove("a"), e.Put("a", dir), e.Put("a/n", file("3")))
		}, "a/ a/n=3 f=1"},
		{"file over directory and back", func(e *tree.Editor) error {
			return errors.Join(e.Put("a", file("9")), e.Put("a", dir))
		}, "a/ f=1"},
		{"remove what was put", func(e *tree.Editor) error {
			return errors.Join(e.Put("n", file("1")), e.Remove("n"), e.Remove("never"))
		}, "a/ a/sub/ a/sub/y=1 a/x=1 f=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := tree.NewEditor(tree.NewView(base))
			if err := c.edit(e); err != nil {
				t.Fatal(err)
			}
			if got := list(t, e.View); got != c.want {
				t.Errorf("while editing: got %s, want %s", got, c.want)
			}
			if got := list(t, tree.NewView(base, e.Table())); got != c.want {
				t.Errorf("as a layer: got %s, want %s", got, c.want)
			}
		})
	}
}

func TestEditorKeepsParents(t *testing.T) {
	base := layer.NewTable()
	base.Make("tmp").Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o1777}
	e := tree.NewEditor(tree.NewView(base.Seal()))
	if err := e.Put("tmp/f", &layer.Inode{Kind: layer.Regular}); err != nil {
		t.Fatal(err)
	}
	if got := e.Table().Lookup("tmp").Inode.Mode; got != 0o1777 {
		t.Errorf("the parent has mode %o in the new layer", got)
	}
	if err := e.Put("none/f", &layer.Inode{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file without a parent: %v", err)
	}
}

func TestFS(t *testing.T) {
	v := tree.NewView(table(t, "d/f=hello", "d/e=", "l->d"))
	fsys := v.FS()
	data, err := fs.ReadFile(fsys, "l/f")
	if err != nil || string(data) != "hello" {
		t.Errorf("read through a symlink: %q, %v", data, err)
	}
	entries, err := fs.ReadDir(fsys, "d")
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, []string{"e", "f"}) {
		t.Errorf("ReadDir: %v, %v", names, err)
	}
	if err := fstest.TestFS(tree.NewView(table(t, "d/f=hello", "d/e=")).FS(), "d/f", "d/e"); err != nil {
		t.Error(err)
	}
}
