package snapshot_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/snapshot"
)

var then = time.Unix(1_600_000_000, 0)

// base is the root below each step.
func base() *layer.Table {
	t := layer.NewTable()
	put := func(p string, in layer.Inode) {
		in.ModTime = then
		t.Make(p).Inode = &in
	}
	file := func(p, s string) {
		put(p, layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: int64(len(s)), Content: layer.Bytes(s)})
	}
	dir := func(p string) { put(p, layer.Inode{Kind: layer.Dir, Mode: 0o755}) }
	t.Root.Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: then}
	dir("bin")
	file("bin/tool", "tool")
	t.Lookup("bin/tool").Inode.Xattrs = map[string]string{"user.note": "x"}
	dir("etc")
	file("etc/passwd", "root:x:0:0\n")
	file("etc/hosts", "localhost\n")
	file("etc/one", "linked")
	t.Make("etc/two").Inode = t.Lookup("etc/one").Inode
	put("etc/link", layer.Inode{Kind: layer.Symlink, Mode: 0o777, Target: "passwd"})
	dir("lib")
	dir("lib/sub")
	file("lib/sub/a", "aaa")
	file("lib/sub/b", "bbb")
	dir("tmp")
	return t.Seal()
}

// describe tells what a table says, a line per name.
func describe(t *layer.Table) string {
	var b strings.Builder
	first := map[*layer.Inode]string{}
	_ = t.Walk(func(p string, n *layer.Node) error {
		if p == "" && n.Inode == nil {
			return nil
		}
		b.WriteString("/" + p)
		if n.Whiteout {
			b.WriteString(" gone")
		}
		if n.Opaque {
			b.WriteString(" opaque")
		}
		if in := n.Inode; in != nil {
			fmt.Fprintf(&b, " %s %o %d:%d", []string{"dir", "file", "link", "char", "block", "fifo"}[in.Kind], in.Mode, in.UID, in.GID)
			if in.Kind == layer.Regular {
				fmt.Fprintf(&b, " %d", in.Size)
			}
			if in.Kind == layer.Symlink {
				b.WriteString(" " + in.Target)
			}
			if in.Kind == layer.Char {
				fmt.Fprintf(&b, " %d,%d", in.DevMajor, in.DevMinor)
			}
			for _, k := range slices.Sorted(maps.Keys(in.Xattrs)) {
				b.WriteString(" " + k)
			}
			if f, ok := first[in]; ok {
				b.WriteString(" = /" + f)
			}
			first[in] = p
		}
		b.WriteString("\n")
		return nil
	})
	return b.String()
}

var cases = []struct{ name, script, want, scan string }{
	{name: "nothing", script: "cat etc/passwd; ls -lR >/dev/null"},
	{name: "write", script: "echo more >> etc/passwd", want: "/etc dir 755 0:0\n/etc/passwd file 644 0:0 16\n"},
	{
		name: "new", script: "mkdir -m 700 opt; echo hi > opt/x; ln -s x opt/y; mkfifo -m 600 opt/z",
		want: "/opt dir 700 0:0\n/opt/x file 644 0:0 3\n/opt/y link 777 0:0 x\n/opt/z fifo 600 0:0\n",
	},
	{name: "touch and back", script: "touch etc/passwd; touch -d @1600000000 etc/passwd; chmod 600 etc/hosts; chmod 644 etc/hosts"},
	{name: "touch", script: "touch etc/hosts", want: "/etc dir 755 0:0\n/etc/hosts file 644 0:0 10\n"},
	{
		name: "same size and time", script: "printf 'root:y:0:0\n' > etc/passwd; touch -d @1600000000 etc/passwd",
		want: "/etc dir 755 0:0\n/etc/passwd file 644 0:0 11\n",
	},
	{name: "rewrite the same", script: "cat etc/passwd > etc/new; mv etc/new etc/passwd; touch -d @1600000000 etc/passwd"},
	{name: "chmod", script: "chmod 4755 bin/tool", want: "/bin dir 755 0:0\n/bin/tool file 4755 0:0 4 user.note\n"},
	{name: "chown a directory", script: "chown 5:6 tmp", want: "/tmp dir 755 5:6\n"},
	{name: "chmod the root", script: "chmod 700 .", want: "/ dir 700 0:0\n"},
	{name: "come and go", script: "echo x > tmp/x; rm tmp/x; mkdir tmp/d; rmdir tmp/d"},
	{name: "delete", script: "rm etc/hosts; rm -r lib", want: "/etc dir 755 0:0\n/etc/hosts gone\n/lib gone\n"},
	{name: "empty a directory", script: "rm lib/sub/a lib/sub/b", want: "/lib dir 755 0:0\n/lib/sub dir 755 0:0\n/lib/sub/a gone\n/lib/sub/b gone\n"},
	{name: "file for directory", script: "rm -r lib; echo x > lib", want: "/lib file 644 0:0 2\n"},
	{
		name: "directory for file", script: "rm etc/hosts; mkdir etc/hosts; echo x > etc/hosts/x",
		want: "/etc dir 755 0:0\n/etc/hosts dir 755 0:0\n/etc/hosts/x file 644 0:0 2\n",
	},
	{name: "link for directory", script: "rm -r lib; ln -s bin lib", want: "/lib link 777 0:0 bin\n"},
	{
		name: "directory made again", script: "rm -r lib; mkdir lib; echo x > lib/new",
		want: "/lib opaque dir 755 0:0\n/lib/new file 644 0:0 2\n",
		scan: "/lib dir 755 0:0\n/lib/new file 644 0:0 2\n/lib/sub gone\n",
	},
	{
		name: "new hard links", script: "echo x > tmp/a; ln tmp/a tmp/b; ln tmp/a bin/c",
		want: "/bin dir 755 0:0\n/bin/c file 644 0:0 2\n/tmp dir 755 0:0\n/tmp/a file 644 0:0 2 = /bin/c\n/tmp/b file 644 0:0 2 = /tmp/a\n",
	},
	{
		name: "link to an old file", script: "ln etc/passwd etc/shadow",
		want: "/etc dir 755 0:0\n/etc/passwd file 644 0:0 11\n/etc/shadow file 644 0:0 11 = /etc/passwd\n",
	},
	{
		name: "link before an old file", script: "ln etc/passwd bin/aa",
		want: "/bin dir 755 0:0\n/bin/aa file 644 0:0 11\n/etc dir 755 0:0\n/etc/passwd file 644 0:0 11 = /bin/aa\n",
	},
	{
		name: "write to a linked file", script: "echo more >> etc/one",
		want: "/etc dir 755 0:0\n/etc/one file 644 0:0 11\n", // overlayfs breaks the link
		scan: "/etc dir 755 0:0\n/etc/one file 644 0:0 11\n/etc/two file 644 0:0 11 = /etc/one\n",
	},
	{name: "device", script: "mknod tmp/null c 1 3", want: "/tmp dir 755 0:0\n/tmp/null char 644 0:0 1,3\n"},
	{
		name: "capabilities", script: "setcap cap_net_raw+ep bin/tool; setfattr -n user.more -v y bin/tool",
		want: "/bin dir 755 0:0\n/bin/tool file 644 0:0 4 security.capability user.more user.note\n",
	},
	{name: "socket", script: "perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un(\"tmp/s\"))'"},
	{name: "move a file", script: "mv etc/hosts tmp/hosts", want: "/etc dir 755 0:0\n/etc/hosts gone\n/tmp dir 755 0:0\n/tmp/hosts file 644 0:0 10\n"},
	{
		name: "ignored", script: "mkdir run; echo x > run/x; echo y > tmp/skip; rm -f lib/sub/b",
		want: "/lib dir 755 0:0\n/lib/sub dir 755 0:0\n/lib/sub/b gone\n",
	},
	{name: "hole", script: "truncate -s 1M tmp/hole", want: "/tmp dir 755 0:0\n/tmp/hole file 644 0:0 1048576\n"},
}

func ignore(p string) bool { return p == "run" || p == "tmp/skip" }

func lower(t *layer.Table) snapshot.Lower {
	return func(p string) (*layer.Inode, bool) {
		n := t.Lookup(p)
		if n == nil {
			return nil, false
		}
		return n.Inode, true
	}
}

func checkout(t *testing.T, table *layer.Table, o layer.CheckoutOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := layer.Checkout(t.Context(), table, dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestUpper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := base()
			low := checkout(t, table, layer.CheckoutOptions{})
			work := t.TempDir()
			for _, d := range []string{"upper", "work", "merged"} {
				if err := os.Mkdir(filepath.Join(work, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			upper := filepath.Join(work, "upper")
			run(t, "unshare", "-m", "sh", "-ec", `
				mount -t overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" overlay "$2/merged"
				cd "$2/merged"
				umask 022
				eval "$3"
				cd "$2/merged"
				eval "$4" > "$2/seen"`, "sh", low, work, c.script, find)
			got, err := snapshot.Upper(t.Context(), upper, snapshot.UpperOptions{Lower: lower(table), Ignore: ignore})
			if err != nil {
				t.Fatal(err)
			}
			check(t, describe(got), c.want)
			replay(t, table, got, filepath.Join(work, "seen"))
		})
	}
}

// find lists what a step saw: names, kinds, modes, owners, link targets, times
// of files in seconds.
const find = `find . -path ./run -prune -o -path ./tmp/skip -prune -o ! -type s -type d -printf '%p d %m %U:%G\n' -o \
	! -type s -printf '%p %y %m %U:%G %s %l %Ts\n' | sort`

// replay lays the changes onto the base and compares with what the step saw.
func replay(t *testing.T, below, got *layer.Table, seen string) {
	t.Helper()
	root := checkout(t, below, layer.CheckoutOptions{Form: layer.Applied})
	if err := layer.Checkout(t.Context(), got, root, layer.CheckoutOptions{Form: layer.Applied}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", find)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 100 {
		t.Fatalf("the step saw only %q", want)
	}
	check(t, string(out), string(want))
}

func TestChanges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for owners")
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := base()
			root := checkout(t, table, layer.CheckoutOptions{Form: layer.Applied})
			index, err := snapshot.Take(t.Context(), root, snapshot.Options{Ignore: ignore})
			if err != nil {
				t.Fatal(err)
			}
			run(t, "sh", "-ec", `cd "$1"; umask 022; eval "$2"`, "sh", root, c.script)
			got, index, err := index.Changes(t.Context(), root, lower(table))
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if c.scan != "" {
				want = c.scan
			}
			check(t, describe(got), want)
			again, _, err := index.Changes(t.Context(), root, lower(table))
			if err != nil {
				t.Fatal(err)
			}
			if again.Root.Len() != 0 {
				t.Errorf("without a step between, there is a change:\n%s", describe(again))
			}
		})
	}
}

// A file that was made again as it was is a change only if a layer can tell its time from that before, whatever the clock says.
func TestLatest(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		latest *time.Time
		want   int // entries
	}{{nil, 1}, {&then, 0}, {&later, 1}} {
		table := base()
		root := checkout(t, table, layer.CheckoutOptions{Form: layer.Applied})
		index, err := snapshot.Take(t.Context(), root, snapshot.Options{Latest: c.latest})
		if err != nil {
			t.Fatal(err)
		}
		upper := t.TempDir()
		for _, dir := range []string{root, upper} {
			run(t, "sh", "-ec", `cd "$1"; mkdir -p etc; rm -f etc/link; ln -s passwd etc/link`, "sh", dir)
		}
		twice, _, err := index.Changes(t.Context(), root, lower(table))
		if err != nil {
			t.Fatal(err)
		}
		once, err := snapshot.Upper(t.Context(), upper, snapshot.UpperOptions{Lower: lower(table), Latest: c.latest})
		if err != nil {
			t.Fatal(err)
		}
		for how, got := range map[string]*layer.Table{"looking twice": twice, "upper directory": once} {
			if n := got.Lookup("etc/link"); (n != nil) != (c.want > 0) {
				t.Errorf("latest %v, %s:\n%s", c.latest, how, describe(got))
			}
		}
	}
}

func check(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
