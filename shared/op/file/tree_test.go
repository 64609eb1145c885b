package file

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// The tests write file systems as lines:
//
//	d 0755 1:2 100 a           a directory, its mode, owner, time and path
//	f 0644 0:0 100 a/b text    a file with its content
//	l 0777 0:0 100 a/l ../x    a symlink
//	p 0600 0:0 100 a/p         a fifo
//	c 0600 0:0 100 a/n 1:3     a character device
//	h a/c a/b                  a hard link
//	x a/b user.k=v             an extended attribute
//
// Parents that no line names are directories of which the layer says nothing.

// table makes a layer's table of such lines.
func table(t testing.TB, lines string) *layer.Table {
	t.Helper()
	tab := layer.NewTable()
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "h":
			tab.Make(f[1]).Inode = tab.Lookup(f[2]).Inode
		case "w":
			tab.Make(f[1]).Whiteout = true
		case "x":
			k, v, _ := strings.Cut(f[2], "=")
			i := tab.Lookup(f[1]).Inode
			i.Xattrs = merge(i.Xattrs, map[string]string{k: v})
		default:
			tab.Make(f[4]).Inode = parseInode(t, f)
		}
	}
	return tab.Seal()
}

func parseInode(t testing.TB, f []string) *layer.Inode {
	t.Helper()
	num := func(s string, base int) int64 {
		n, err := strconv.ParseInt(s, base, 64)
		if err != nil {
			t.Fatalf("%q: %v", f, err)
		}
		return n
	}
	uid, gid, _ := strings.Cut(f[2], ":")
	i := &layer.Inode{
		Mode: uint32(num(f[1], 8)), UID: uint32(num(uid, 10)), GID: uint32(num(gid, 10)),
		ModTime: time.Unix(num(f[3], 10), 0),
	}
	rest := strings.Join(f[5:], " ")
	switch f[0] {
	case "d":
		i.Kind = layer.Dir
	case "f":
		i.Kind, i.Size = layer.Regular, int64(len(rest))
		if i.Size > 0 {
			i.Content = layer.Bytes(rest)
		}
	case "l":
		i.Kind, i.Target = layer.Symlink, rest
	case "p":
		i.Kind = layer.Fifo
	case "c":
		major, minor, _ := strings.Cut(rest, ":")
		i.Kind, i.DevMajor, i.DevMinor = layer.Char, uint32(num(major, 10)), uint32(num(minor, 10))
	default:
		t.Fatalf("%q: unknown kind", f)
	}
	return i
}

func view(t testing.TB, layers ...string) *tree.View {
	t.Helper()
	var tabs []*layer.Table
	for _, l := range layers {
		tabs = append(tabs, table(t, l))
	}
	return tree.NewView(tabs...)
}

// dump writes a view as lines, without the root.
func dump(t testing.TB, v *tree.View) string {
	t.Helper()
	return dumpWith(t, v, true)
}

func dumpWith(t testing.TB, v *tree.View, links bool) string {
	t.Helper()
	var b strings.Builder
	first := make(map[*layer.Inode]string)
	err := v.Walk(v.Root(), func(f *tree.File) error {
		if f.Path == "" {
			return nil
		}
		if p, ok := first[f.Inode]; ok && links {
			fmt.Fprintf(&b, "h %s %s\n", f.Path, p)
			return nil
		}
		first[f.Inode] = f.Path
		b.WriteString(formatInode(t, f))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func formatInode(t testing.TB, f *tree.File) string {
	t.Helper()
	rest := ""
	switch f.Kind {
	case layer.Regular:
		data, err := tree.ReadAll(f.Inode)
		if err != nil {
			t.Fatal(err)
		}
		if rest = " " + string(data); len(data) == 0 {
			rest = ""
		}
	case layer.Symlink:
		rest = " " + f.Target
	case layer.Char:
		rest = fmt.Sprintf(" %d:%d", f.DevMajor, f.DevMinor)
	}
	s := fmt.Sprintf("%c %04o %d:%d %d %s%s\n", "dflcbp"[f.Kind], f.Mode, f.UID, f.GID, f.ModTime.Unix(), f.Path, rest)
	for _, k := range slices.Sorted(maps.Keys(f.Xattrs)) {
		s += fmt.Sprintf("x %s %s=%s\n", f.Path, k, f.Xattrs[k])
	}
	return s
}

// changes writes a changeset as lines: what it says nothing about is "-", a
// whiteout "w", an opaque directory has "!" behind it.
func changes(tab *layer.Table) string {
	var b strings.Builder
	_ = tab.Walk(func(p string, n *layer.Node) error {
		kind := "-"
		switch {
		case n.Whiteout:
			kind = "w"
		case n.Inode != nil:
			kind = string("dflcbp"[n.Inode.Kind])
		}
		if n.Opaque {
			p += "!"
		}
		if p != "" || kind != "-" {
			fmt.Fprintf(&b, "%s %s\n", kind, path.Join("/", p))
		}
		return nil
	})
	return b.String()
}

// unindent makes lines of a test's literal comparable.
func unindent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if l := strings.TrimSpace(line); l != "" {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// same lines?
func compare(t *testing.T, what, got, want string) {
	t.Helper()
	if got, want = unindent(got), unindent(want); got != want {
		t.Errorf("%s is\n%swant\n%s", what, got, want)
	}
}
