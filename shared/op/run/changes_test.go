package run_test

import (
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/tree"
)

func cwd(dir string) func(*graph.Exec) { return func(op *graph.Exec) { op.Cwd = dir } }

// TestChanges runs steps over both kinds of roots: the layers are the same.
func TestChanges(t *testing.T) {
	base := []string{"a/", "a/x=1", "a/y=2", "a/deep/er/z=3", "gone=", "app/", "real/dir/", "link->real", "out->../../../../../../../../tmp"}
	cases := []struct {
		name, script string
		change       func(*graph.Exec)
		want         string
	}{
		{name: "nothing", script: "true"},
		{name: "a file", script: "echo new >app/f; chmod 600 app/f", want: "d 755 0:0 app\nf 600 0:0 app/f \"new\\n\""},
		{name: "a file changed", script: "echo more >>a/x", want: "d 755 0:0 a\nf 644 0:0 a/x \"1more\\n\""},
		{name: "a file of the same size", script: "echo -n 9 >a/x", want: "d 755 0:0 a\nf 644 0:0 a/x \"9\""},
		{name: "owner and mode", script: "chown 12:34 a/x; chmod 4751 a/x; chmod 1777 a", want: "d 1777 0:0 a\nf 4751 12:34 a/x \"1\""},
		{name: "removed", script: "rm gone a/x", want: "d 755 0:0 a\n- a/x\n- gone"},
		{name: "removed with all in it", script: "rm -r a", want: "- a"},
		{name: "made and removed", script: "mkdir app/d; echo >app/d/f; rm -r app/d"},
		{name: "touched", script: "touch -d @0 app a/deep; cat a/x >t; chmod 600 a/x; chmod 644 a/x; rm t"},
		{name: "written as it was", script: "touch -d @0 o; echo -n 1 >a/x; touch -r gone a/x; rm o"},
		{name: "replaced directory", script: "rm -r a; mkdir a; echo 5 >a/n", want: "d 755 0:0 a\n- a/deep\nf 644 0:0 a/n \"5\\n\"\n- a/x\n- a/y"},
		{name: "file for a directory", script: "rm -r a; echo 5 >a", want: "f 644 0:0 a \"5\\n\""},
		{name: "directory for a file", script: "rm gone; mkdir gone; echo 1 >gone/f", want: "d 755 0:0 gone\nf 644 0:0 gone/f \"1\\n\""},
		{name: "moved", script: "mv a/x app/x", want: "d 755 0:0 a\n- a/x\nd 755 0:0 app\nf 644 0:0 app/x \"1\""},
		{name: "hard links", script: "echo 1 >app/f; ln app/f app/g; mkdir app/d; ln app/f app/d/h", want: "d 755 0:0 app\nd 755 0:0 app/d\nf 644 0:0 app/d/h \"1\\n\"\napp/f = app/d/h\napp/g = app/d/h"},
		{name: "special files", script: "mkfifo app/p; ln -s ../x app/l; ln -s /abs/y app/m; mknod app/c c 1 3; chown -h 5:6 app/l", want: "d 755 0:0 app\nc 644 0:0 app/c 1,3\nl 777 5:6 app/l -> ../x\nl 777 0:0 app/m -> /abs/y\np 644 0:0 app/p"},
		{name: "working directory made", script: "pwd; echo 1 >f", change: cwd("/new/work"), want: "d 755 0:0 new\nd 755 0:0 new/work\nf 644 0:0 new/work/f \"1\\n\""},
		{name: "working directory by a link", script: "echo 1 >f", change: cwd("/link/dir/sub"), want: "d 755 0:0 real/dir/sub\nf 644 0:0 real/dir/sub/f \"1\\n\""},
		{name: "working directory leads out", script: "echo 1 >f", change: cwd("/out/work"), want: "d 777 0:0 tmp\nd 755 0:0 tmp/work\nf 644 0:0 tmp/work/f \"1\\n\""},
		{name: "the root's mode", script: "chmod 711 /", want: "d 711 0:0 "},
	}
	overBoth(t, func(t *testing.T, b *bed) {
		b = b.with(base...)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				op := step(c.script)
				if c.change != nil {
					c.change(op)
				}
				got := strings.ReplaceAll(b.run(t.Context(), op).changes(t), "d 755 0:0 real\nd 755 0:0 real/dir\n", "")
				if got != c.want {
					t.Errorf("got\n%s\nwant\n%s", got, c.want)
				}
			})
		}
	})
}

func TestXattrs(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		b = b.with("app/", "app/f=1").client(t)
		r := b.run(t.Context(), step("client xattr app user.name; client xattr app/f security.capability; client xattr app/f user.other"))
		const capability = `"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`
		want := "d 755 0:0 app user.name=\"value\"\nf 644 0:0 app/f \"1\" security.capability=" + capability + " user.other=\"value\""
		if got := r.changes(t); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		next := *b
		next.base = r.tree
		if got := next.run(t.Context(), step("echo -n 1 >app/f; touch -d @1000000000 app/f")).changes(t); got != "d 755 0:0 app user.name=\"value\"\nf 644 0:0 app/f \"1\" user.other=\"value\"" {
			t.Errorf("a write takes capabilities away: got\n%s", got)
		}
	})
}

// TestIgnore has paths that never enter a layer.
func TestIgnore(t *testing.T) {
	ignore := func(p string) bool { return p == "skip" || p == "app/.cache" }
	overBoth(t, func(t *testing.T, b *bed) {
		switch r := b.Roots.(type) {
		case *run.OverlayRoots:
			r.Ignore = ignore
		case *run.DirRoots:
			r.Ignore = ignore
		}
		r := b.with("app/", "skip/old=1").run(t.Context(), step("mkdir app/.cache; echo 1 >app/.cache/f; echo 1 >app/f; echo 2 >skip/new; rm skip/old"))
		if got, want := r.changes(t), "d 755 0:0 app\nf 644 0:0 app/f \"1\\n\""; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestSteps runs steps on steps, and branches from one base at once.
func TestSteps(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		b = b.with("app/")
		one := b.run(t.Context(), step("echo 1 >app/f; echo 1 >app/g"))
		one.want(t, "")
		next := *b
		next.base = one.tree
		two := next.run(t.Context(), step("cat app/f; rm app/f; echo 2 >app/h"))
		two.want(t, "1\n")
		next.base = two.tree
		next.run(t.Context(), step("ls app")).want(t, "g\nh\n")
		if got, want := two.changes(t), "d 755 0:0 app\n- app/f\nf 644 0:0 app/h \"2\\n\""; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		// The first step's layer is still what it was.
		if got, want := one.changes(t), "d 755 0:0 app\nf 644 0:0 app/f \"1\\n\"\nf 644 0:0 app/g \"1\\n\""; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		// File operations between steps reach the next one.
		next.base = two.tree.With(b.tree("app/file=copied", "-app/g").Layers()...)
		next.run(t.Context(), step("ls app; cat app/file")).want(t, "file\nh\ncopied")
		// And back to an earlier state.
		next.base = one.tree
		next.run(t.Context(), step("ls app")).want(t, "f\ng\n")
	})
}

func TestBranches(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		b = b.with("app/")
		done := make(chan result)
		for _, name := range []string{"p", "q", "r", "s"} {
			go func() {
				done <- b.run(t.Context(), step("for i in 1 2 3; do echo $i >app/"+name+"$i; sleep 0.05; done; ls app | wc -l"))
			}()
		}
		var all []tree.Tree
		for range 4 {
			r := <-done
			r.want(t, "3\n")
			all = append(all, r.tree)
		}
		merged := *b
		merged.base = b.base
		for _, r := range all {
			l := r.Layers()
			merged.base = merged.base.With(l[len(l)-1])
		}
		merged.run(t.Context(), step("ls app | wc -l")).want(t, "12\n")
	})
}
