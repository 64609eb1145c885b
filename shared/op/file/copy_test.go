package file

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// docker is a copy as the Dockerfile frontend asks for it.
func docker(src, dest string, with ...func(*graph.Copy)) *graph.Copy {
	c := &graph.Copy{
		Src: src, Dest: dest, Mode: -1, FollowSymlink: true, DirCopyContents: true,
		CreateDestPath: true, AllowWildcard: true, AllowEmptyWildcard: true,
	}
	for _, w := range with {
		w(c)
	}
	return c
}

func chown(uid, gid uint32) func(*graph.Copy) {
	return func(c *graph.Copy) { c.Owner = &graph.Owner{User: &graph.User{ID: uid}, Group: &graph.User{ID: gid}} }
}

func chmod(mode int32) func(*graph.Copy) { return func(c *graph.Copy) { c.Mode = mode } }

func symbolic(mode string) func(*graph.Copy) { return func(c *graph.Copy) { c.ModeStr = mode } }

func only(patterns ...string) func(*graph.Copy) {
	return func(c *graph.Copy) { c.IncludePatterns = patterns }
}

func without(patterns ...string) func(*graph.Copy) {
	return func(c *graph.Copy) { c.ExcludePatterns = patterns }
}

func require(paths ...string) func(*graph.Copy) {
	return func(c *graph.Copy) { c.RequiredPaths = paths }
}

// one carries out a single action on dst, with src as the second input.
func one(t *testing.T, action any, dst, src *tree.View, o Options) (*layer.Table, error) {
	t.Helper()
	if o.Now == nil {
		o.Now = at(now)
	}
	op := &graph.File{Actions: []graph.FileAction{{Input: 0, Secondary: 1, Do: action}}}
	results, err := Do(t.Context(), op, []*tree.View{dst, src}, o)
	if err != nil {
		return nil, err
	}
	if len(results) != 1 || results[0].Base != 0 || len(results[0].Tables) != 1 {
		t.Fatalf("results are %+v", results)
	}
	return results[0].Tables[0], nil
}

func TestCopy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		copy     *graph.Copy
		src, dst string
		want     string // the file system afterwards
		changes  string // the changeset, where it matters
		err      string
	}{
		{
			name: "a file into a directory that is made",
			copy: docker("/f", "/n1/n2/"),
			src:  "f 4755 5:6 100 f hi",
			want: "d 0755 0:0 5000 n1\n d 0755 0:0 5000 n1/n2\n f 4755 5:6 100 n1/n2/f hi",
		},
		{
			name: "implied parents take owner and mode",
			copy: docker("/f", "/n1/n2/f", chown(7, 8), chmod(0o700)),
			src:  "f 0644 0:0 100 f hi",
			want: "d 0700 7:8 5000 n1\n d 0700 7:8 5000 n1/n2\n f 0700 7:8 100 n1/n2/f hi",
		},
		{
			name: "implied parents don't take a symbolic mode, and setuid is for what was named",
			copy: docker("/d", "/n1/n2", symbolic("u=rwX,go=rX")),
			src:  "d 0700 0:0 90 d\n f 0600 0:0 100 d/f\n f 0700 0:0 100 d/x",
			want: "d 0755 0:0 5000 n1\n d 0755 0:0 90 n1/n2\n f 0644 0:0 100 n1/n2/f\n f 0755 0:0 100 n1/n2/x",
		},
		{
			name: "a directory's content onto one that is there, which keeps owner and mode",
			copy: docker("/", "/app"),
			src:  "f 0644 0:0 100 f new\n d 0700 1:1 101 sub\n f 0644 0:0 100 sub/x",
			dst:  "d 1777 3:4 50 app\n f 0600 0:0 50 app/f old\n d 0755 9:9 50 app/sub\n f 0644 0:0 1 app/sub/keep k",
			want: `d 1777 3:4 50 app
				f 0644 0:0 100 app/f new
				d 0700 1:1 101 app/sub
				f 0644 0:0 1 app/sub/keep k
				f 0644 0:0 100 app/sub/x`,
			changes: "d /app\n f /app/f\n d /app/sub\n f /app/sub/x",
		},
		{
			name:    "what is the same already is no change",
			copy:    docker("/", "/app"),
			src:     "f 0644 0:0 100 f same\n d 0700 1:1 101 sub\n l 0777 0:0 3 sub/l x",
			dst:     "d 1777 3:4 50 app\n f 0644 0:0 100 app/f same\n d 0700 1:1 101 app/sub\n l 0777 0:0 3 app/sub/l x",
			want:    "d 1777 3:4 50 app\n f 0644 0:0 100 app/f same\n d 0700 1:1 101 app/sub\n l 0777 0:0 3 app/sub/l x",
			changes: "",
		},
		{
			name: "same metadata and size but another content is a change",
			copy: docker("/f", "/"),
			src:  "f 0644 0:0 100 f abc",
			dst:  "f 0644 0:0 100 f abd",
			want: "f 0644 0:0 100 f abc", changes: "f /f",
		},
		{
			name: "hard links are kept, over directories and matches",
			copy: docker("/d*", "/o/", chown(1, 1)),
			src:  "d 0755 0:0 1 d1\n f 0644 0:0 1 d1/a x\n h d1/b d1/a\n d 0755 0:0 1 d2\n h d2/c d1/a",
			want: "d 0755 1:1 1 o\n f 0644 1:1 1 o/a x\n h o/b o/a\n h o/c o/a",
		},
		{
			name: "attributes and special files",
			copy: docker("/d", "/d"),
			src: `d 0755 0:0 1 d
				f 0755 0:0 1 d/ping x
				x d/ping security.capability=c
				x d/ping user.k=v
				x d/ping security.selinux=s
				x d/ping user.overlay.opaque=y
				c 0666 0:0 1 d/null 1:3
				p 0644 0:0 1 d/pipe`,
			want: `d 0755 0:0 1 d
				c 0666 0:0 1 d/null 1:3
				f 0755 0:0 1 d/ping x
				x d/ping security.capability=c
				x d/ping user.k=v
				p 0644 0:0 1 d/pipe`,
		},
		{
			name: "a directory's attributes are added to those there",
			copy: docker("/", "/"),
			src:  "d 0755 0:0 1 d\n x d user.a=1",
			dst:  "d 0700 0:0 1 d\n x d user.b=2\n x d user.a=3",
			want: "d 0755 0:0 1 d\n x d user.a=1\n x d user.b=2",
		},
		{
			name: "a source that is a symlink is followed, one inside is not",
			copy: docker("/l", "/o"),
			src:  "l 0777 0:0 1 l /real/d\n d 0755 0:0 1 real\n d 0755 0:0 1 real/d\n l 0777 0:0 1 real/d/in ../../x",
			want: "d 0755 0:0 1 o\n l 0777 0:0 1 o/in ../../x",
		},
		{
			name: "symlinked parents of a source stay in the root",
			copy: docker("/up/etc/*", "/o/"),
			src:  "l 0777 0:0 1 up ../../..\n d 0755 0:0 1 etc\n f 0644 0:0 1 etc/f ours",
			want: "d 0755 0:0 5000 o\n f 0644 0:0 1 o/f ours",
		},
		{
			name: "a destination through symlinks stays in the root",
			copy: docker("/f", "/l/x/"),
			src:  "f 0644 0:0 1 f x",
			dst:  "l 0777 0:0 1 l ../../var/www\n l 0777 0:0 1 var /data",
			want: "d 0755 0:0 5000 data\n d 0755 0:0 5000 data/www\n d 0755 0:0 5000 data/www/x\n f 0644 0:0 1 data/www/x/f x\n l 0777 0:0 1 l ../../var/www\n l 0777 0:0 1 var /data",
		},
		{
			name: "a file replaces a symlink below the destination",
			copy: docker("/d", "/d"),
			src:  "d 0755 0:0 1 d\n f 0644 0:0 1 d/f new",
			dst:  "d 0755 0:0 1 d\n l 0777 0:0 1 d/f /victim\n f 0644 0:0 1 victim v",
			want: "d 0755 0:0 1 d\n f 0644 0:0 1 d/f new\n f 0644 0:0 1 victim v",
		},
		{name: "a folder onto a file", copy: docker("/d", "/f"), src: "d 0755 0:0 1 d", dst: "f 0644 0:0 1 f", err: "cannot copy to non-directory: /f"},
		{name: "a file onto a folder", copy: docker("/d", "/d"), src: "d 0755 0:0 1 d\n f 0644 0:0 1 d/x", dst: "d 0755 0:0 1 d\n d 0755 0:0 1 d/x", err: "cannot replace to directory /d/x with file"},
		{name: "a folder onto a symlink inside", copy: docker("/", "/"), src: "d 0755 0:0 1 lib\n f 0644 0:0 1 lib/x", dst: "l 0777 0:0 1 lib usr/lib\n d 0755 0:0 1 usr\n d 0755 0:0 1 usr/lib", err: "cannot copy to non-directory: /lib"},
		{
			name: "either is replaced when asked for",
			copy: docker("/", "/", func(c *graph.Copy) { c.AlwaysReplaceExistingDestPaths = true }),
			src:  "d 0755 0:0 1 a\n f 0644 0:0 1 a/f\n f 0644 0:0 1 b x",
			dst:  "f 0644 0:0 1 a\n d 0755 0:0 1 b\n f 0644 0:0 1 b/gone",
			want: "d 0755 0:0 1 a\n f 0644 0:0 1 a/f\n f 0644 0:0 1 b x", changes: "d /a\n f /a/f\n f /b",
		},
		{name: "wildcards that match nothing make nothing", copy: docker("/*.txt", "/o/"), src: "f 0644 0:0 1 f x", want: ""},
		{name: "a missing source", copy: docker("/nope", "/o/"), src: "f 0644 0:0 1 f x", err: "/nope"},
		{name: "wildcards that must match", copy: docker("/*.txt", "/o/", func(c *graph.Copy) { c.AllowEmptyWildcard = false }), err: "/*.txt: no match"},
		{
			name: "wildcards by part",
			copy: docker("/s/[[]x]/?.go", "/o/"),
			src:  "d 0755 0:0 1 s\n d 0755 0:0 1 s/[x]\n f 0644 0:0 1 s/[x]/a.go\n f 0644 0:0 1 s/[x]/ab.go\n d 0755 0:0 1 s/x\n f 0644 0:0 1 s/x/b.go",
			want: "d 0755 0:0 5000 o\n f 0644 0:0 1 o/a.go",
		},
		{
			name: "parents are made where something in them matches",
			copy: docker("/", "/o/", only("a/*/c"), chown(1, 2)),
			src:  "d 0700 0:0 3 a\n d 0711 0:0 3 a/b\n f 0644 0:0 3 a/b/c x\n d 0755 0:0 3 a/d\n f 0644 0:0 3 a/d/e",
			dst:  "",
			want: "d 0755 1:2 5000 o\n d 0700 1:2 3 o/a\n d 0711 1:2 3 o/a/b\n f 0644 1:2 3 o/a/b/c x",
		},
		{
			name: "parents that are there take the mode",
			copy: docker("/", "/o/", only("a/b"), chown(1, 2)),
			src:  "d 0700 0:0 3 a\n f 0644 0:0 3 a/b x",
			dst:  "d 0755 9:9 1 o\n d 0755 9:9 1 o/a",
			want: "d 0755 9:9 1 o\n d 0700 9:9 1 o/a\n f 0644 1:2 3 o/a/b x",
		},
		{
			name: "excluded, with an exception",
			copy: docker("/", "/o/", without("a", "!a/keep", "**/*.tmp")),
			src:  "d 0700 0:0 3 a\n f 0644 0:0 3 a/b x\n f 0644 0:0 3 a/keep k\n f 0644 0:0 3 a/c.tmp\n f 0644 0:0 3 z",
			want: "d 0755 0:0 5000 o\n d 0700 0:0 3 o/a\n f 0644 0:0 3 o/a/keep k\n f 0644 0:0 3 o/z",
		},
		{
			name: "a required path that is there",
			copy: docker("/", "/o/", only("a/b"), require("/a/b")),
			src:  "d 0700 0:0 3 a\n f 0644 0:0 3 a/b x",
			want: "d 0755 0:0 5000 o\n d 0700 0:0 3 o/a\n f 0644 0:0 3 o/a/b x",
		},
		{name: "a required path that is missing", copy: docker("/", "/o/", only("a/b"), require("/a/b")), src: "d 0700 0:0 3 a\n f 0644 0:0 3 a/bc", err: "/a/b"},
		{name: "parents of nothing, as COPY --parents . asks for", copy: docker("/", "/o/", only(""), require("/")), src: "f 0644 0:0 3 a", err: "nothing is named"},
		{
			name: "a timestamp for all",
			copy: docker("/d", "/n/d", func(c *graph.Copy) { ts := time.Unix(42, 0); c.Timestamp = &ts }),
			src:  "d 0700 0:0 3 d\n f 0644 0:0 3 d/b x\n l 0777 0:0 3 d/l b",
			want: "d 0755 0:0 42 n\n d 0755 0:0 42 n/d\n f 0644 0:0 42 n/d/b x\n l 0777 0:0 42 n/d/l b",
		},
		{name: "no destination directory", copy: docker("/f", "/a/b", func(c *graph.Copy) { c.CreateDestPath = false }), src: "f 0644 0:0 1 f", err: "destination /a/b"},
		{
			name: "the root's own metadata is left alone",
			copy: docker("/", "/"),
			src:  "d 0700 5:5 9 /\n f 0644 0:0 1 f",
			want: "f 0644 0:0 1 f", changes: "f /f",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dst := table(t, tt.dst)
			got, err := one(t, tt.copy, tree.NewView(dst), view(t, tt.src), Options{})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.changes != "" || strings.Contains(tt.name, "no change") {
				compare(t, "changeset", changes(got), tt.changes)
			}
			compare(t, "result", dump(t, tree.NewView(dst, got)), tt.want)
		})
	}
}

func TestCopySameHandle(t *testing.T) {
	t.Parallel()
	// A content that cannot be read is the same as itself.
	ino := &layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: 3, ModTime: time.Unix(1, 0), Content: &unreadable{}}
	tab := layer.NewTable()
	tab.Make("f").Inode = ino
	v := tree.NewView(tab.Seal())
	got, err := one(t, docker("/f", "/"), v, v, Options{})
	if err != nil || !got.Empty() {
		t.Errorf("changes are %s, %v", changes(got), err)
	}
}

type unreadable struct{}

func (*unreadable) Open() (io.ReadCloser, error) { return nil, errors.New("gone") }

// TestCopyLinksEndAtTheLayer copies a file beside itself: two names in two
// layers must not be taken for hard links when layers are merged.
func TestCopyLinksEndAtTheLayer(t *testing.T) {
	t.Parallel()
	v := view(t, "f 0644 0:0 1 a x")
	got, err := one(t, docker("/a", "/b"), v, v, Options{})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := v.Lstat("a")
	if got.Lookup("b").Inode == a.Inode {
		t.Error("the copy shares its inode with the source")
	}
}
