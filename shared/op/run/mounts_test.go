package run_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/tree"
)

func tmpfs(target string) graph.Mount { return graph.Mount{Type: graph.MountTmpfs, Target: target} }

// bind mounts the first of the further inputs.
func bind(target, selector string) graph.Mount {
	return graph.Mount{Target: target, Selector: selector, Input: 1, Output: -1}
}

func readOnly(m graph.Mount) graph.Mount {
	m.ReadOnly = true
	return m
}

// TestMounts gives a step mounts; nothing of them, nor of their points, is in the layer.
func TestMounts(t *testing.T) {
	input := []string{"f=one", "d/", "d/g=two", "d/h=three", "l->d", "out->../../../../d"}
	cases := []struct {
		name, script string
		mounts       []graph.Mount
		out          string
		changes      string // of /
	}{
		{name: "bind", mounts: []graph.Mount{bind("/m", "")}, script: "cat m/f m/d/g; ls m/l", out: "onetwog\nh\n"},
		{name: "bind is thrown away", mounts: []graph.Mount{bind("/m", "")}, script: "echo 2 >m/f; rm -r m/d; cat m/f", out: "2\n"},
		{name: "bind a part", mounts: []graph.Mount{bind("/m", "l")}, script: "ls m", out: "g\nh\n"},
		{name: "bind a file", mounts: []graph.Mount{bind("/new/dir/file", "/d/g")}, script: "cat new/dir/file", out: "two"},
		{name: "bind over what is there", mounts: []graph.Mount{bind("/etc/passwd", "f")}, script: "cat etc/passwd", out: "one"},
		{name: "bind what leads out", mounts: []graph.Mount{bind("/m", "out")}, script: "ls m", out: "g\nh\n"},
		{name: "relative target", mounts: []graph.Mount{bind("m", "d")}, script: "ls /m", out: "g\nh\n"},
		{name: "target by a link", mounts: []graph.Mount{bind("/link/m", "d")}, script: "ls real/dir/m", out: "g\nh\n"},
		{name: "target leads out", mounts: []graph.Mount{bind("/away/m", "d")}, script: "ls tmp/m", out: "g\nh\n"},
		{name: "dangling target", mounts: []graph.Mount{bind("/dangling", "d")}, script: "ls nowhere/at/all", out: "g\nh\n"},
		{name: "write beside the point", mounts: []graph.Mount{bind("/new/m", "d")}, script: "echo 1 >new/f", changes: "d 755 0:0 new\nf 644 0:0 new/f \"1\\n\""},
		{name: "tmpfs", mounts: []graph.Mount{tmpfs("/t/t")}, script: "echo 1 >t/t/f; stat -c %a t/t; cat t/t/f", out: "1777\n1\n"},
		{name: "tmpfs over what is there", mounts: []graph.Mount{tmpfs("/etc")}, script: "ls etc"},
		{name: "nothing of the machine", mounts: nil, script: "cat etc/hosts etc/resolv.conf", out: "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\nnameserver 192.0.2.1\n"},
		{name: "cache in cache", mounts: []graph.Mount{cache("/foo/bar/baz"), cache("/foo/bar")}, script: "echo 1 >foo/bar/baz/f; ls foo/bar", out: "baz\n"},
		{name: "bind in tmpfs", mounts: []graph.Mount{bind("/t/x/y", "d"), tmpfs("/t")}, script: "ls t/x/y; ls t", out: "g\nh\nx\n"},
		{name: "file in tmpfs", mounts: []graph.Mount{bind("/t/x", "f"), tmpfs("/t")}, script: "cat t/x", out: "one"},
		{name: "cache in bind", mounts: []graph.Mount{bind("/src", ""), cache("/src/node/modules")}, script: "echo 1 >src/node/modules/f; ls src", out: "d\nf\nl\nnode\nout\n"},
		{name: "in a part of a read-only bind", mounts: []graph.Mount{readOnly(bind("/src", "")), cache("/src/d")}, script: "ls src/d; echo 1 >src/d/f; ls src/d", out: "f\n"},
		{name: "three deep", mounts: []graph.Mount{cache("/c"), tmpfs("/c/t"), bind("/c/t/b", "d")}, script: "ls c/t/b", out: "g\nh\n"},
		{name: "in /dev", mounts: []graph.Mount{tmpfs("/dev/new")}, script: "echo 1 >/dev/new/f; cat /dev/new/f", out: "1\n"},
		{name: "the root's link is hidden", mounts: []graph.Mount{tmpfs("/real"), bind("/real/dir/up/x", "d")}, script: "ls real/dir/up/x", out: "g\nh\n"},
	}
	overBoth(t, func(t *testing.T, b *bed) {
		b = b.with("real/dir/", "link->real/dir", "away->../../../../../../../../../tmp", "dangling->nowhere/at/all", "real/dir/up->/etc")
		in := b.tree(input...)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				op := step(c.script)
				for _, m := range c.mounts {
					mount(m)(op)
				}
				for range 2 { // what the first left, the second finds
					r := b.run(t.Context(), op, in)
					r.want(t, c.out)
					if got := r.changes(t); got != c.changes {
						t.Errorf("the layer has\n%s\nwant\n%s", got, c.changes)
					}
					emptyCaches(t, b)
				}
			})
		}
		b.run(t.Context(), step("cat m/f; cat m/d/g", mount(bind("/m", ""))), in).want(t, "onetwo")
	})
}

// emptyCaches takes what a step left in caches, but for directories.
func emptyCaches(t *testing.T, b *bed) {
	t.Helper()
	must(t, filepath.WalkDir(b.Caches.Dir, func(p string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && d.Name() == "f" {
			return os.Remove(p)
		}
		return err
	}))
}

// TestMountErrors has mounts that cannot be.
func TestMountErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		mounts []graph.Mount
		want   error
	}{
		{"a point in a read-only bind", []graph.Mount{readOnly(bind("/src", "")), cache("/src/none")}, syscall.EROFS},
		{"below a file", []graph.Mount{tmpfs("/etc/passwd/x")}, syscall.ENOTDIR},
		{"below a file in a bind", []graph.Mount{bind("/src", ""), tmpfs("/src/f/x")}, syscall.ENOTDIR},
		{"links in a circle", []graph.Mount{tmpfs("/loop/x")}, syscall.ELOOP},
		{"the root itself", []graph.Mount{tmpfs("/etc/..")}, os.ErrInvalid},
		{"a link to the root", []graph.Mount{tmpfs("/top")}, os.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, b *bed) {
				b = b.with("loop->loop", "top->/")
				op := step("true")
				for _, m := range c.mounts {
					mount(m)(op)
				}
				if r := b.run(t.Context(), op, b.tree("f=1")); !errors.Is(r.err, c.want) {
					t.Errorf("got %v, want %v", r.err, c.want)
				}
			})
		})
	}
	overBoth(t, func(t *testing.T, b *bed) {
		if r := b.run(t.Context(), step("true", mount(bind("/m", "/none"))), b.tree("f=1")); r.err == nil || !strings.Contains(r.err.Error(), `mount /m: "/none": not found`) {
			t.Errorf("a part that is not there: %v", r.err)
		}
		m := bind("/m", "")
		if r := b.run(t.Context(), step("true", mount(m), func(op *graph.Exec) { op.Mounts[1].Output = 1 }), b.tree("f=1")); r.err == nil {
			t.Error("a bind mount was made a result")
		}
		if r := b.run(t.Context(), step("true", mount(tmpfs("/proc/x")))); r.err == nil {
			t.Error("something was mounted over /proc")
		}
	})
}

// TestReadOnly is for views that can keep mounts read-only.
func TestReadOnly(t *testing.T) {
	b := newBed(t, "overlay")
	script := "echo x >m/f || echo refused; echo x >etc/hosts || echo refused; rm m/f || echo refused"
	r := b.run(t.Context(), step("("+script+") 2>/dev/null", mount(readOnly(bind("/m", "")))), b.tree("f=1"), tree.Tree{})
	r.want(t, "refused\nrefused\nrefused\n")
	if got := r.changes(t); got != "" {
		t.Errorf("the layer has %s", got)
	}
}

// TestScratchMounts binds a file system that is empty.
func TestScratchMounts(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		op := step("ls m; echo 1 >m/f; cat m/f", mount(bind("/m", "")))
		b.run(t.Context(), op, tree.Tree{}).want(t, "1\n")
	})
}

// TestScratchRoot runs a program that is only mounted.
func TestScratchRoot(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		op := step("echo 1 >/f", mount(readOnly(bind("/bin", "/bin"))))
		trees, err := b.Run(t.Context(), op, []tree.Tree{{}, b.base}, io.Discard, io.Discard)
		got := result{tree: func() tree.Tree {
			if err != nil {
				return tree.Tree{}
			}
			return trees[0]
		}(), err: err}.changes(t)
		if !strings.Contains(got, "f 644 0:0 f \"1\\n\"") || strings.Contains(got, "bin") || strings.Contains(got, "etc") {
			t.Errorf("the layer has\n%s", got)
		}
	})
}

// TestWorkdirInMount begins in what is mounted.
func TestWorkdirInMount(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		in := b.tree("d/f=1")
		b.run(t.Context(), step("ls", cwd("/src/d"), mount(bind("/src", ""))), in).want(t, "f\n")
		r := b.run(t.Context(), step("pwd; echo 1 >f", cwd("/src/new/dir"), mount(bind("/src", ""))), in)
		r.want(t, "/src/new/dir\n")
		if got := r.changes(t); got != "" {
			t.Errorf("the layer has\n%s", got)
		}
		b.run(t.Context(), step("pwd", cwd("/c/x"), mount(cache("/c")))).want(t, "/c/x\n")
		if r := b.run(t.Context(), step("pwd", cwd("/src/d/f"), mount(bind("/src", ""))), in); r.err == nil {
			t.Errorf("worked in a file: %q", r.out)
		}
		if r := b.run(t.Context(), step("pwd", cwd("/etc/passwd"))); !errors.Is(r.err, syscall.ENOTDIR) {
			t.Errorf("a file as working directory: %v", r.err)
		}
	})
}

// TestSystemFiles looks at what a step finds in /etc, and at what stays.
func TestSystemFiles(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		op := step("cat etc/hosts; cat etc/resolv.conf; ls -l etc/resolv.conf | grep -c run/systemd")
		op.ExtraHosts = []graph.Host{{Name: "db", IP: "10.0.0.1"}}
		op.Hostname = "builder"
		const hosts = "127.0.0.1\tlocalhost builder\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\n"
		linked := b.with("etc/resolv.conf->../run/systemd/stub.conf", "etc/hosts=the image's own")
		r := linked.run(t.Context(), op)
		r.want(t, hosts+"nameserver 192.0.2.1\n1\n")
		if got := r.changes(t); got != "" {
			t.Errorf("the layer has\n%s", got)
		}
		v, err := r.tree.View(t.Context())
		must(t, err)
		if data, err := v.ReadFile("etc/hosts", 100); err != nil || string(data) != "the image's own" {
			t.Errorf("the image's /etc/hosts: %q, %v", data, err)
		}
		// A link that leads out stays inside.
		b.with("etc/hosts->../../../../../../etc/other").run(t.Context(), step("cat etc/other")).want(t, strings.Replace(hosts, "builder", "buildkitsandbox", 1)[:strings.Index(hosts, "10.0")+len("buildkitsandbox")-len("builder")])
		if b.Sandbox.View().Layered {
			b.run(t.Context(), step("hostname", func(op *graph.Exec) { op.Hostname = "builder" })).want(t, "builder\n")
			b.run(t.Context(), step("hostname")).want(t, "buildkitsandbox\n")
		}
	})
}
