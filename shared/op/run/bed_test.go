package run_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
	"github.com/strake-build/strake/shared/snapshot"
	"github.com/strake-build/strake/shared/tree"
)

// reaper is the one of this process.
var reaper = sync.OnceValues(sandbox.BecomeReaper)

// bed is a runner over one kind of roots, with a tree to run in.
type bed struct {
	*run.Runner
	base tree.Tree
	dir  string // of the builder
}

// kinds are the ways of giving a step its root.
var kinds = []string{"overlay", "chroot"}

// overBoth runs a test with both kinds of roots.
func overBoth(t *testing.T, test func(t *testing.T, b *bed)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, newBed(t, kind)) })
	}
}

func newBed(t testing.TB, kind string) *bed {
	t.Helper()
	// Roots are entered by other users than the owner of temporary directories.
	busybox := sandboxtest.Busybox(t)
	for _, a := range strings.Fields("mkfifo sort") {
		must(t, os.Symlink("busybox", filepath.Join(busybox, "bin", a)))
	}
	dir := filepath.Join(busybox, "../builder")
	w, err := tree.NewWorkspace(dir, layer.PackOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	b := &bed{dir: dir, Runner: &run.Runner{
		Workspace: w, Caches: &run.Caches{Dir: filepath.Join(dir, "mounts")}, Resolv: []byte("nameserver 192.0.2.1\n"),
		Secrets: secrets{}, SSH: &agents{},
	}}
	r, err := reaper()
	must(t, err)
	if kind == "overlay" {
		userXattr, err := sandbox.UserXattrs(w.Path())
		must(t, err)
		w.UseOverlay(userXattr)
		b.Sandbox, b.Roots = sandbox.NewOverlay(r), &run.OverlayRoots{Workspace: w, UserXattr: userXattr}
	} else {
		b.Sandbox, b.Roots = sandbox.NewChroot(r), &run.DirRoots{Workspace: w}
	}
	b.base = tree.Of(w.FromTable(tableOf(t, busybox)))
	return b
}

// tableOf is a layer of all that is in a directory.
func tableOf(t testing.TB, dir string) *layer.Table {
	t.Helper()
	table, err := snapshot.Upper(t.Context(), dir, snapshot.UpperOptions{})
	must(t, err)
	return table.Seal()
}

// old is the time of files in trees.
var old = time.Unix(1e9, 0)

// with lays a changeset on the base: "dir/", "file=content", "link->target", "-removed".
func (b *bed) with(lines ...string) *bed {
	c := *b
	c.base = b.base.With(b.tree(lines...).Layers()...)
	return &c
}

func (b *bed) tree(lines ...string) tree.Tree {
	table := layer.NewTable()
	for _, l := range lines {
		name, content, isFile := strings.Cut(l, "=")
		link, target, isLink := strings.Cut(l, "->")
		switch {
		case strings.HasPrefix(l, "-"):
			table.Make(l[1:]).Whiteout = true
		case isLink:
			table.Make(link).Inode = &layer.Inode{Kind: layer.Symlink, Mode: 0o777, ModTime: old, Target: target}
		case isFile:
			table.Make(name).Inode = &layer.Inode{Kind: layer.Regular, Mode: 0o644, ModTime: old, Size: int64(len(content)), Content: layer.Bytes(content)}
		default:
			table.Make(l).Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: old}
		}
	}
	return tree.Of(b.Workspace.FromTable(table.Seal()))
}

// step is a shell script in the base; change says what else is to be done.
func step(script string, change ...func(*graph.Exec)) *graph.Exec {
	op := &graph.Exec{
		Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/",
		Mounts: []graph.Mount{{Target: "/", Input: 0, Output: 0}},
	}
	for _, c := range change {
		c(op)
	}
	return op
}

func mount(m graph.Mount) func(*graph.Exec) {
	if m.Type != graph.MountBind {
		m.Input = max(m.Input, 0) - 1 // nobody means the root
	}
	m.Output = -1
	return func(op *graph.Exec) { op.Mounts = append(op.Mounts, m) }
}

func cache(target string) graph.Mount {
	return graph.Mount{Type: graph.MountCache, Target: target, Cache: &graph.CacheMount{ID: target}}
}

// result is what a step said and left.
type result struct {
	out  string
	tree tree.Tree
	err  error
}

func (b *bed) run(ctx context.Context, op *graph.Exec, inputs ...tree.Tree) result {
	var out bytes.Buffer
	trees, err := b.Run(ctx, op, append([]tree.Tree{b.base}, inputs...), &out, &out)
	r := result{out: out.String(), err: err}
	if err == nil {
		r.tree = trees[0]
	}
	return r
}

// want fails unless the step succeeded and said just that.
func (r result) want(t testing.TB, out string) result {
	t.Helper()
	if r.err != nil || r.out != out {
		t.Fatalf("got %v, output %q; want output %q", r.err, r.out, out)
	}
	return r
}

// changes lists the topmost layer.
func (r result) changes(t testing.TB) string {
	t.Helper()
	if r.err != nil {
		t.Fatalf("%v, output %q", r.err, r.out)
	}
	layers := r.tree.Layers()
	table, err := layers[len(layers)-1].Table(t.Context())
	must(t, err)
	return list(t, table)
}

// list writes a changeset down, a path a line, without times.
func list(t testing.TB, table *layer.Table) string {
	t.Helper()
	names := make(map[*layer.Inode]string)
	var lines []string
	must(t, table.Walk(func(p string, n *layer.Node) error {
		switch {
		case n.Whiteout:
			lines = append(lines, "- "+p)
		case n.Inode == nil:
			if p != "" {
				lines = append(lines, "through "+p)
			}
		case names[n.Inode] != "":
			lines = append(lines, p+" = "+names[n.Inode])
		default:
			names[n.Inode] = p
			lines = append(lines, describe(t, p, n))
		}
		return nil
	}))
	return strings.Join(lines, "\n")
}

func describe(t testing.TB, p string, n *layer.Node) string {
	ino := n.Inode
	s := fmt.Sprintf("%c %o %d:%d %s", "dflcbp"[ino.Kind], ino.Mode, ino.UID, ino.GID, p)
	switch ino.Kind {
	case layer.Regular:
		data, err := tree.ReadAll(ino)
		must(t, err)
		s += fmt.Sprintf(" %q", data)
	case layer.Symlink:
		s += " -> " + ino.Target
	case layer.Char, layer.Block:
		s += fmt.Sprintf(" %d,%d", ino.DevMajor, ino.DevMinor)
	}
	if n.Opaque {
		s += " opaque"
	}
	var attrs []string
	for k, v := range ino.Xattrs {
		attrs = append(attrs, fmt.Sprintf(" %s=%q", k, v))
	}
	slices.Sort(attrs)
	return s + strings.Join(attrs, "")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
