package source

import (
	"context"
	"fmt"
	"io"
	gofs "io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// describe gives a line for every path of a table, root left out.
func describe(t *layer.Table) map[string]string {
	out := make(map[string]string)
	first := make(map[*layer.Inode]string)
	_ = t.Walk(func(p string, n *layer.Node) error {
		if p == "" {
			return nil
		}
		i := n.Inode
		line := fmt.Sprintf("%d %04o %d:%d %d %s", i.Kind, i.Mode, i.UID, i.GID, i.ModTime.UnixNano(), i.Target)
		if i.Kind == layer.Regular {
			if link, ok := first[i]; ok {
				line += " link " + link
			} else {
				line += fmt.Sprintf(" size %d", i.Size)
				first[i] = p
			}
		}
		out[p] = line
		return nil
	})
	return out
}

// describeByFsutil is the same by BuildKit's library.
func describeByFsutil(t testing.TB, dir string, f Filter) map[string]string {
	t.Helper()
	fsys, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	fsys, err = fsutil.NewFilterFS(fsys, &fsutil.FilterOpt{
		IncludePatterns: f.Include, ExcludePatterns: f.Exclude, FollowPaths: f.Follow,
		Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
			st.Uid, st.Gid = 0, 0
			return fsutil.MapResultKeep
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	err = fsutil.WithHardlinkReset(fsys).Walk(t.Context(), "/", func(p string, e gofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*fstypes.Stat)
		kind, mode := kindOf(fi.Mode()), uint32(fi.Mode().Perm())
		for bit, m := range map[gofs.FileMode]uint32{gofs.ModeSetuid: 0o4000, gofs.ModeSetgid: 0o2000, gofs.ModeSticky: 0o1000} {
			if fi.Mode()&bit != 0 {
				mode |= m
			}
		}
		target := ""
		if kind == layer.Symlink {
			target = st.Linkname
		}
		line := fmt.Sprintf("%d %04o %d:%d %d %s", kind, mode, st.Uid, st.Gid, st.ModTime, target)
		if kind == layer.Regular {
			if st.Linkname != "" {
				line += " link " + st.Linkname
			} else {
				line += fmt.Sprintf(" size %d", st.Size)
			}
		}
		out[p] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func kindOf(m gofs.FileMode) layer.Kind {
	switch {
	case m.IsDir():
		return layer.Dir
	case m&gofs.ModeSymlink != 0:
		return layer.Symlink
	case m&gofs.ModeNamedPipe != 0:
		return layer.Fifo
	case m&gofs.ModeCharDevice != 0:
		return layer.Char
	case m&gofs.ModeDevice != 0:
		return layer.Block
	}
	return layer.Regular
}

var (
	wordsOfTrees    = []string{"a", "b", "foo", "foo.go", ".git", "node_modules", "x y", "b*d", "a\xffz", "Übung", "[z]"}
	wordsOfPatterns = append([]string{"*", "**", "?", "f*", "*.go", "[ab]", "\\[z]", "foo?go", "**/b"}, wordsOfTrees[:6]...)
)

// growTree makes a random tree.
func growTree(t testing.TB, rnd *rand.Rand, dir string, depth int) {
	t.Helper()
	for range rnd.IntN(7) {
		p := filepath.Join(dir, wordsOfTrees[rnd.IntN(len(wordsOfTrees))])
		switch k := rnd.IntN(12); {
		case k < 5 && depth > 0:
			if os.Mkdir(p, 0o700|gofs.FileMode(rnd.IntN(0o100))) == nil {
				growTree(t, rnd, p, depth-1)
			}
		case k < 9:
			_ = os.WriteFile(p, make([]byte, rnd.IntN(9)), 0o400|gofs.FileMode(rnd.IntN(0o100)))
		case k < 10:
			up := strings.Repeat("../", rnd.IntN(3))
			if rnd.IntN(3) == 0 {
				up = "/"
			}
			_ = os.Symlink(up+wordsOfTrees[rnd.IntN(len(wordsOfTrees))], p)
		case k < 11:
			if names, _ := os.ReadDir(dir); len(names) > 0 && names[0].Type().IsRegular() {
				_ = os.Link(filepath.Join(dir, names[0].Name()), p)
			}
		default:
			_ = unix.Mkfifo(p, 0o640)
		}
	}
}

func randomPatterns(rnd *rand.Rand, exceptions bool) []string {
	var out []string
	for range rnd.IntN(4) {
		parts := make([]string, 1+rnd.IntN(3))
		for i := range parts {
			parts[i] = wordsOfPatterns[rnd.IntN(len(wordsOfPatterns))]
		}
		p := strings.Join(parts, "/")
		if exceptions && rnd.IntN(3) == 0 {
			p = "!" + p
		}
		out = append(out, p)
	}
	return out
}

func TestLocalAsFsutil(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		growTree(t, rnd, dir, 4)
		for range 12 {
			f := Filter{Include: randomPatterns(rnd, true), Exclude: randomPatterns(rnd, true), Follow: randomPatterns(rnd, false)}
			got, err := Local(t.Context(), dir, f)
			if err != nil {
				t.Fatalf("seed %d, %q: %v", seed, f, err)
			}
			if d := cmp.Diff(describeByFsutil(t, dir, f), describe(got)); d != "" {
				t.Fatalf("seed %d, %q: fsutil -, ours +\n%s", seed, f, d)
			}
		}
	}
}

func TestLocalPatterns(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"Dockerfile": "", ".dockerignore": "", "src/main.go": "", "src/main_test.go": "", "src/deep/x.go": "",
		"node_modules/a/index.js": "", "node_modules/keep/me.js": "", "docs/a.md": "", "real/file": "", "real/other": "",
	})
	for link, target := range map[string]string{"link": "real", "abs": "/src", "loop": "loop", "out": "../../etc"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{Exclude: []string{"*"}}, ""},
		{Filter{Exclude: []string{"*", "!src/**/x.go"}}, "src src/deep src/deep/x.go"},
		{Filter{Exclude: []string{"**", "!node_modules/keep"}}, "node_modules node_modules/keep node_modules/keep/me.js"},
		{Filter{Include: []string{"src"}, Exclude: []string{"**/*_test.go"}}, "src src/deep src/deep/x.go src/main.go"},
		{Filter{Follow: []string{"link/file"}}, "link real real/file"},
		{Filter{Follow: []string{"abs/*.go"}}, "abs src src/main.go src/main_test.go"},
		{Filter{Follow: []string{"out", "loop", "https://example.com/x", "missing/*", "Dockerfile/x"}}, "loop out"},
		{Filter{Include: []string{"docs"}, Follow: []string{"."}}, "docs docs/a.md"},
	} {
		got, err := Local(t.Context(), dir, c.f)
		if err != nil {
			t.Errorf("%q: %v", c.f, err)
			continue
		}
		paths := slices.Sorted(maps.Keys(describe(got)))
		if strings.Join(paths, " ") != c.want {
			t.Errorf("%q: got %q, want %q", c.f, paths, c.want)
		}
		if d := cmp.Diff(describeByFsutil(t, dir, c.f), describe(got)); d != "" {
			t.Errorf("%q: fsutil -, ours +\n%s", c.f, d)
		}
	}
	for _, f := range []Filter{{Exclude: []string{"!"}}, {Include: []string{"["}}} {
		if _, err := Local(t.Context(), dir, f); err == nil {
			t.Errorf("%q: no error", f)
		}
	}
}

func TestLocalMetadata(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, dir, map[string]string{"file": "content", "plain": ""})
	mtime := time.Unix(1_500_000_000, 123456789)
	check(t, os.Chmod(file, 0o4751|gofs.ModeSetuid))
	check(t, os.Chtimes(file, mtime, mtime))
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for attr, v := range map[string]string{"user.note": "x", "user.big": strings.Repeat("y", 1000), "trusted.mine": "z", "security.capability": capability} {
		if err := unix.Setxattr(file, attr, []byte(v), 0); err != nil {
			t.Skipf("set %s: %v", attr, err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	check(t, err)
	defer l.Close()
	for _, x := range []xattrReader{newXattrReader(dir), {base: dir, proc: true}, {base: dir}} {
		got, err := x.read(mustOpen(t, dir), "file", "file")
		check(t, err)
		want := map[string]string{"user.note": "x", "user.big": strings.Repeat("y", 1000), "security.capability": capability}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%+v: %s", x, d)
		}
		if got, err := x.read(mustOpen(t, dir), "plain", "plain"); got != nil || err != nil {
			t.Errorf("%+v: %v, %v", x, got, err)
		}
	}
	tab, err := Local(t.Context(), dir, Filter{})
	check(t, err)
	ino := tab.Lookup("file").Inode
	if ino.Mode != 0o4751 || ino.UID != 0 || !ino.ModTime.Equal(mtime) || len(ino.Xattrs) != 3 {
		t.Errorf("file: %+v", ino)
	}
	if s := tab.Lookup("sock").Inode; s.Kind != layer.Regular || s.Size != 0 || s.Content != nil {
		t.Errorf("socket: %+v", s)
	}
	if got := read(t, ino); got != "content" {
		t.Errorf("content %q", got)
	}
}

func TestLocalChangesMeanwhile(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string]string{"file": "secret!"})
	dir := t.TempDir()
	write(t, dir, map[string]string{"d/file": "content", "swapped": "content", "grown": "content", "fifo": "content", "kept": "content", "gone": "content"})
	tab, err := Local(t.Context(), dir, Filter{})
	check(t, err)

	check(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")))
	check(t, os.Symlink(outside, filepath.Join(dir, "d")))
	check(t, os.Remove(filepath.Join(dir, "swapped")))
	check(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "swapped")))
	check(t, os.WriteFile(filepath.Join(dir, "grown"), []byte("more content"), 0o644))
	check(t, os.Remove(filepath.Join(dir, "fifo")))
	check(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	check(t, os.Remove(filepath.Join(dir, "gone")))
	for _, name := range []string{"d/file", "swapped", "grown", "fifo", "gone"} {
		r, err := tab.Lookup(name).Inode.Content.Open()
		if err == nil {
			data, _ := io.ReadAll(r)
			t.Errorf("%s: no error, but %q", name, data)
			continue
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error without the name: %v", name, err)
		}
	}
	// A file that grows under our hands.
	r, err := tab.Lookup("kept").Inode.Content.Open()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("other content"), 0o644))
	if data, err := io.ReadAll(r); err == nil {
		t.Errorf("kept: no error, but %q", data)
	}
	check(t, r.Close())
}

func TestOpenWithoutOpenat2(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a/b/c": "x"})
	check(t, os.Symlink("a", filepath.Join(dir, "l")))
	r, err := openRoot(dir)
	check(t, err)
	for _, p := range []string{"a/b/c", "a", "."} {
		fd, err := r.step(p, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		check(t, err)
		check(t, unix.Close(fd))
	}
	for _, p := range []string{"l/b/c", "l", "../x", "a/../a", "a/b/c/d", "/etc/passwd"} {
		if _, err := r.step(p, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC); err == nil {
			t.Errorf("step %s: no error", p)
		}
		if _, err := r.open(p, unix.O_RDONLY); err == nil && p != "a/../a" {
			t.Errorf("open %s: no error", p)
		}
	}
}

func TestLocalDeeperThanPathMax(t *testing.T) {
	dir := t.TempDir()
	fd := mustOpen(t, dir)
	name := strings.Repeat("n", 200)
	for range 30 {
		check(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		check(t, err)
		fd = next
		t.Cleanup(func() { unix.Close(next) })
	}
	f, err := unix.Openat(fd, "bottom", unix.O_WRONLY|unix.O_CREAT, 0o644)
	check(t, err)
	_, err = unix.Write(f, []byte("hello"))
	check(t, err)
	check(t, unix.Close(f))
	tab, err := Local(t.Context(), dir, Filter{})
	check(t, err)
	n := tab.Lookup(strings.Repeat(name+"/", 30) + "bottom")
	if n == nil || read(t, n.Inode) != "hello" {
		t.Errorf("bottom: %+v", n)
	}
}

func TestLocalCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Local(ctx, t.TempDir(), Filter{}); err == nil {
		t.Error("no error")
	}
	if _, err := Local(t.Context(), filepath.Join(t.TempDir(), "none"), Filter{}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("no directory: %v", err)
	}
}

func BenchmarkLocal(b *testing.B) {
	dir := b.TempDir()
	for d := range 500 {
		sub := filepath.Join(dir, fmt.Sprintf("pkg%d", d%20), fmt.Sprintf("mod%d", d))
		check(b, os.MkdirAll(sub, 0o755))
		for f := range 100 {
			check(b, os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%d.go", f)), []byte("package x\n"), 0o644))
		}
	}
	for name, f := range map[string]Filter{
		"all":      {},
		"excludes": {Exclude: []string{"**/*_test.go", ".git", "**/node_modules", "!pkg1/mod1"}},
		"pruned":   {Exclude: []string{"pkg*", "!pkg1"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Local(b.Context(), dir, f); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/fsutil", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				describeByFsutil(b, dir, f)
			}
		})
	}
}
