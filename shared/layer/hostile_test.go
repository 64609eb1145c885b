package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/strake-build/strake/shared/layer"
)

// archive writes entries given as "name", "name/", "name = text",
// "name -> symlink target", "name => hard link target".
func archive(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o644, ModTime: then, Typeflag: tar.TypeReg}
		text := ""
		if name, s, ok := strings.Cut(e, " = "); ok {
			h.Name, text = name, s
		} else if name, s, ok := strings.Cut(e, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = name, s, tar.TypeSymlink
		} else if name, s, ok := strings.Cut(e, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = name, s, tar.TypeLink
		} else if strings.HasSuffix(e, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// names describes a table in one line.
func names(table *layer.Table) string {
	var parts []string
	first := map[*layer.Inode]string{}
	_ = table.Walk(func(p string, n *layer.Node) error {
		switch {
		case n.Whiteout:
			p += " gone"
		case n.IsDir() && n.Opaque:
			p += "/!"
		case n.IsDir():
			p += "/"
		case n.Inode.Kind == layer.Symlink:
			p += " -> " + n.Inode.Target
		case first[n.Inode] != "":
			p += " => " + first[n.Inode]
		default:
			first[n.Inode] = p
			if n.Inode.Content != nil {
				p += " = " + read(n.Inode)
			}
		}
		if n.Inode == nil && !n.Whiteout {
			p += "?"
		}
		parts = append(parts, p)
		return nil
	})
	return strings.Join(parts, ", ")
}

func read(in *layer.Inode) string {
	r, err := in.Content.Open()
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

var hostile = []struct {
	name    string
	entries []string
	want    string // "" for ErrMalformed
}{
	{"parent", []string{"../x = 1"}, ""},
	{"parent in the middle", []string{"a/../../x = 1"}, ""},
	{"absolute parent", []string{"/../x = 1"}, ""},
	{"harmless parent", []string{"a/../x = 1"}, "/?, x = 1"},
	{"absolute", []string{"/etc/x = 1"}, "/?, etc/?, etc/x = 1"},
	{"dots", []string{"./", "./a/./b = 1"}, "/, a/?, a/b = 1"},
	{"root as link", []string{". -> /etc"}, ""},
	{"root as file", []string{"./. = x"}, ""},
	{"symlink parent", []string{"a -> b", "a/x = 1"}, "/?, a -> b, b/?, b/x = 1"},
	{"absolute symlink parent", []string{"a -> /etc", "a/x = 1"}, "/?, a -> /etc, etc/?, etc/x = 1"},
	{"symlink parent out of the root", []string{"d/", "d/a -> ../../../../tmp", "d/a/evil = 1"}, "/?, d/, d/a -> ../../../../tmp, tmp/?, tmp/evil = 1"},
	{"chain of symlinks", []string{"a -> b/c", "b -> d", "d/c -> ../e", "a/x = 1"}, "/?, a -> b/c, b -> d, d/?, d/c -> ../e, e/?, e/x = 1"},
	{"loop", []string{"a -> b", "b -> a", "a/x = 1"}, ""},
	{"symlink replaced", []string{"a -> /etc", "a = 1"}, "/?, a = 1"},
	{"directory through a symlink", []string{"a -> b", "a/"}, "/?, a/!"},
	{"hard link", []string{"x = 1", "y => x"}, "/?, x = 1, y => x"},
	{"hard link to itself", []string{"x = 1", "x => x"}, "/?, x = 1"},
	{"hard link through a symlink", []string{"d/x = 1", "l -> d", "y => l/x"}, "/?, d/?, d/x = 1, l -> d, y => d/x"},
	{"hard link to a symlink", []string{"l -> /etc/shadow", "m => l"}, "/?, l -> /etc/shadow, m -> /etc/shadow"},
	{"hard link out of the root", []string{"y => ../x"}, ""},
	{"hard link to the host", []string{"y => /etc/passwd"}, ""},
	{"hard link through a link to the host", []string{"l -> /etc", "y => l/passwd"}, ""},
	{"hard link to a directory", []string{"d/", "y => d"}, ""},
	{"hard link below a file", []string{"f = 1", "y => f/x"}, ""},
	{"hard link over its parent", []string{"a/x = 1", "a => a/x"}, ""},
	{"target replaced later", []string{"x = 1", "y => x", "x = 2"}, "/?, x = 2, y = 1"},
	{"twice", []string{"x = 1", "x = 22"}, "/?, x = 22"},
	{"directory twice", []string{"d/", "d/x = 1", "d/"}, "/?, d/, d/x = 1"},
	{"file over directory", []string{"d/", "d/e/f = 1", "d = 2", "x = 3"}, "/?, d = 2, x = 3"},
	{"directory over file", []string{"d = 2", "d/", "d/x = 1"}, "/?, d/!, d/x = 1"},
	{"below a file", []string{"d = 2", "d/x = 1"}, "/?, d/!?, d/x = 1"},
	{"whiteout", []string{"d/.wh.x"}, "/?, d/?, d/x gone"},
	{"whiteout and file", []string{".wh.x", "x = 1"}, "/?, x = 1"},
	{"file and whiteout", []string{"x = 1", ".wh.x"}, "/?, x = 1"},
	{"whiteout and directory", []string{".wh.d", "d/x = 1"}, "/?, d/!?, d/x = 1"},
	{"directory and whiteout", []string{"d/", "d/x = 1", ".wh.d"}, "/?, d/!, d/x = 1"},
	{"opaque first", []string{"d/.wh..wh..opq", "d/x = 1"}, "/?, d/!?, d/x = 1"},
	{"opaque last", []string{"d/", "d/x = 1", "d/.wh..wh..opq"}, "/?, d/!, d/x = 1"},
	{"opaque root", []string{".wh..wh..opq", "x = 1"}, "/!?, x = 1"},
	{"whiteout of nothing", []string{".wh."}, ""},
	{"whiteout of here", []string{"d/.wh.."}, ""},
	{"whiteout of the parent", []string{"d/.wh..."}, ""},
	{"AUFS", []string{".wh..wh.plnk/", ".wh..wh.plnk/1.2 = x", ".wh..wh.aufs = x", "x = 1"}, "/?, x = 1"},
	{"below a whiteout", []string{".wh.d/x = 1"}, ""},
	{"whiteout through a symlink", []string{"a -> /etc", "a/.wh.passwd"}, "/?, a -> /etc, etc/?, etc/passwd gone"},
	{"long name", []string{strings.Repeat("n", 256) + " = 1"}, ""},
	{"long directory", []string{strings.Repeat("n", 256) + "/x = 1"}, ""},
	{"trailing slash of a file", []string{"x = 1", "x/y/z/", "x/y = 3"}, "/?, x/!?, x/y = 3"},
}

func TestHostileNames(t *testing.T) {
	needRoot(t)
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			blob := archive(t, c.entries...)
			outside := t.TempDir()
			dir := filepath.Join(outside, "in", "root")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			table, _, err := layer.Unpack(t.Context(), bytes.NewReader(blob), dir, layer.UnpackOptions{})
			if c.want == "" {
				if !errors.Is(err, layer.ErrMalformed) {
					t.Fatalf("error is %v", err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if got := names(table); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for _, d := range []string{outside, filepath.Dir(dir)} {
				if l, _ := os.ReadDir(d); len(l) != 1 {
					t.Errorf("%s has %v", d, l)
				}
			}
			if err != nil {
				return
			}
			again := filepath.Join(t.TempDir(), "again")
			os.Mkdir(again, 0o755)
			if err := layer.Checkout(t.Context(), table, again, layer.CheckoutOptions{}); err != nil {
				t.Fatal(err)
			}
			if a, b := shape(t, dir), shape(t, again); a != b {
				t.Errorf("unpacked:\n%schecked out:\n%s", a, b)
			}
			spooled, _, err := layer.Unpack(t.Context(), bytes.NewReader(blob), "", layer.UnpackOptions{Spool: spoolFile(t)})
			if err != nil || names(spooled) != c.want {
				t.Errorf("spooled: %v %v", spooled, err)
			}
		})
	}
}

// shape is a listing without the times that nobody set.
func shape(t *testing.T, dir string) string {
	var out []string
	for line := range strings.Lines(listing(t, dir)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasPrefix(f[1], "4") {
			f[3] = ""
		}
		out = append(out, strings.Join(f, " "))
	}
	return strings.Join(out, "\n")
}

func TestXattrsOfOverlayfsAreNotSmuggled(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.redirect": "/x",
		"SCHILY.xattr.security.selinux": "label", "SCHILY.xattr.user.mine": "kept",
		"LIBARCHIVE.xattr.user.thei%72s": "a2VwdA",
	}})
	w.Close()
	table, _, err := layer.ReadTable(t.Context(), &b, layer.UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := table.Lookup("d")
	if got := fmt.Sprint(n.Inode.Xattrs); got != "map[user.mine:kept user.theirs:kept]" || n.Opaque {
		t.Error(got, n.Opaque)
	}
}

func TestOwnersThatDoNotFit(t *testing.T) {
	for _, id := range []int{-1, 1<<32 - 1, 1 << 32} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Uid: id, Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, _, err := layer.ReadTable(t.Context(), &b, layer.UnpackOptions{}); !errors.Is(err, layer.ErrMalformed) {
			t.Errorf("%d: %v", id, err)
		}
	}
}

func TestLimits(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("f%d = 0123456789", i))
	}
	blob := archive(t, many...)
	deep := archive(t, strings.Repeat("d/", 3000)+"x")
	for _, c := range []struct {
		blob []byte
		l    layer.Limits
	}{
		{blob, layer.Limits{Entries: 99}},
		{blob, layer.Limits{Bytes: 999}},
		{blob, layer.Limits{Bytes: 50_000}},
		{blob, layer.Limits{Metadata: 250}},
		{deep, layer.Limits{}},
		{sparseBomb(), layer.Limits{}},
	} {
		_, _, err := layer.ReadTable(t.Context(), bytes.NewReader(c.blob), layer.UnpackOptions{Limits: c.l})
		if _, ok := errors.AsType[*layer.LimitError](err); !ok {
			t.Errorf("%+v: %v", c.l, err)
		}
	}
	if _, _, err := layer.ReadTable(t.Context(), bytes.NewReader(blob), layer.UnpackOptions{Limits: layer.Limits{Entries: 100, Bytes: -1}}); err != nil {
		t.Error(err)
	}
}

// sparseBomb is a file of nearly 8 EiB that is all hole.
func sparseBomb() []byte {
	b := make([]byte, 3*512)
	copy(b, "bomb")
	copy(b[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00")
	b[156] = tar.TypeGNUSparse
	copy(b[257:], "ustar  \x00")
	copy(b[483:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func TestDevicesWithoutPrivilege(t *testing.T) {
	needRoot(t)
	blob := tarOf(t, sample(), layer.WriteOptions{})
	dir, strict := t.TempDir(), t.TempDir()
	err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 4321, 4321), os.Chown(strict, 4321, 4321))
	if err != nil {
		t.Fatal(err)
	}
	as(t, 4321, func() {
		table, st, err := layer.Unpack(t.Context(), bytes.NewReader(blob), dir, layer.UnpackOptions{Unprivileged: true})
		if err != nil {
			t.Fatal(err)
		}
		if st.Lost == 0 || !bytes.Equal(tarOf(t, table, layer.WriteOptions{}), blob) {
			t.Errorf("%+v, or the table lost something", st)
		}
		if _, err := os.Lstat(filepath.Join(dir, "dev/null")); !os.IsNotExist(err) {
			t.Errorf("in the place of a device there is something: %v", err)
		}
		if _, _, err := layer.Unpack(t.Context(), bytes.NewReader(blob), strict, layer.UnpackOptions{}); err == nil {
			t.Error("an ordinary user may do everything")
		}
	})
}

// as runs f with another effective user, and so without capabilities.
func as(t *testing.T, uid int, f func()) {
	t.Helper()
	if err := errors.Join(syscall.Setregid(-1, uid), syscall.Setreuid(-1, uid)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(syscall.Setreuid(-1, 0), syscall.Setregid(-1, 0)); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

func TestLinkToALowerLayer(t *testing.T) {
	needRoot(t)
	low := layer.Inode{Kind: layer.Regular, Mode: 0o755, UID: 3, GID: 4, Size: 5, Content: layer.Bytes("lower"), ModTime: then}
	o := layer.UnpackOptions{Lower: func(p string) *layer.Inode {
		switch p {
		case "bin/x":
			return &low
		case "etc":
			return &layer.Inode{Kind: layer.Dir, Mode: 0o711, UID: 9, GID: 9, ModTime: then}
		}
		return nil
	}}
	table, dir := unpack(t, archive(t, "etc/y => bin/x"), o)
	if got := names(table); got != "/?, etc/?, etc/y = lower" {
		t.Error(got)
	}
	if got := listing(t, dir); !strings.Contains(got, "etc 40711 9:9 1600000000") || !strings.Contains(got, "etc/y 100755 3:4") {
		t.Error(got)
	}
	// The same, known only later.
	table, dir = unpack(t, archive(t, "etc/y = 1"), layer.UnpackOptions{})
	if err := layer.Imply(table, dir, o.Lower); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); !strings.Contains(got, "etc 40711 9:9 1600000000") {
		t.Error(got)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, c := range hostile {
		f.Add(archive(f, c.entries...))
	}
	f.Add(sparseBomb())
	f.Fuzz(func(t *testing.T, blob []byte) {
		dir := filepath.Join(t.TempDir(), "in", "root")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		o := layer.UnpackOptions{Limits: layer.Limits{Bytes: 1 << 20, Entries: 1000}}
		table, st, err := layer.Unpack(t.Context(), bytes.NewReader(blob), dir, o)
		if l, _ := os.ReadDir(filepath.Dir(dir)); len(l) != 1 {
			t.Fatalf("beside the root: %v", l)
		}
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := layer.Write(t.Context(), &b, table, layer.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		again, _, err := layer.ReadTable(t.Context(), bytes.NewReader(b.Bytes()), layer.UnpackOptions{})
		if err != nil {
			t.Fatalf("%v, after %+v", err, st)
		}
		if err := sameTables(table, again); err != nil {
			t.Fatal(err)
		}
	})
}

// sameTables compares two tables but for what a tar can't say: directories
// without metadata.
func sameTables(a, b *layer.Table) error {
	return a.Walk(func(p string, n *layer.Node) error {
		m := b.Lookup(p)
		if m == nil {
			if n.Inode == nil && n.Len() == 0 {
				return nil
			}
			return fmt.Errorf("%q is missing", p)
		}
		if n.Whiteout != m.Whiteout || n.Opaque != m.Opaque {
			return fmt.Errorf("%q: %+v became %+v", p, n, m)
		}
		if x, y := n.Inode, m.Inode; x != nil && (y == nil || x.Kind != y.Kind || x.Mode != y.Mode || x.Size != y.Size || x.Target != y.Target) {
			return fmt.Errorf("%q: %+v became %+v", p, x, y)
		}
		return nil
	})
}
