package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/sandbox"
)

// Bed is a sandbox under test.
type Bed struct {
	sandbox.Sandbox
	// Root makes a root of a directory, which becomes its only layer or is
	// copied, and names the directory where changes to it are seen.
	Root func(t testing.TB, dir string) (r sandbox.Root, changes string)
	// Limited says that capabilities and ids cannot be given freely: the test
	// runs in a user namespace of one id.
	Limited bool
	// Without names what cannot be asked of the sandbox here.
	Without []string
}

// env is what every process of the contract gets.
var env = []string{"PATH=/bin", "HOME=/root"}

// Contract checks what every sandbox promises.
func Contract(t *testing.T, b Bed) {
	for name, test := range map[string]func(*testing.T, Bed){
		"Code": testCode, "Output": testOutput, "Exec": testExec, "Identity": testIdentity, "Directory": testDirectory,
		"Limits": testLimits, "Sources": testSources, "Tmpfs": testTmpfs, "Subdir": testSubdir, "Leftovers": testLeftovers,
		"Cancel": testCancel, "Descriptors": testDescriptors, "Devices": testDevices, "AtOnce": testAtOnce, "Untouched": testUntouched,
		"Hostile": testHostile, "Nested": testNested,
	} {
		if !slices.Contains(b.Without, name) {
			t.Run(name, func(t *testing.T) { test(t, b) })
		}
	}
}

// result is what a process left.
type result struct {
	sandbox.Exit
	out, changes string
	err          error
}

// run runs a shell script in a fresh root.
func (b Bed) run(t testing.TB, p sandbox.Process, script string) result {
	t.Helper()
	return b.runIn(t, Busybox(t), p, script)
}

func (b Bed) runIn(t testing.TB, dir string, p sandbox.Process, script string) result {
	t.Helper()
	r, changes := b.Root(t, dir)
	var out bytes.Buffer
	if script != "" {
		p.Args = []string{"sh", "-c", script}
	}
	p.Env, p.Stdout, p.Stderr = env, &out, &out
	e, err := b.Run(t.Context(), r, p)
	return result{e, out.String(), changes, err}
}

// want fails unless a script succeeded and said just that.
func (r result) want(t testing.TB, out string) {
	t.Helper()
	if r.err != nil || r.Code != 0 || r.out != out {
		t.Errorf("got code %d, error %v, output %q; want output %q", r.Code, r.err, r.out, out)
	}
}

func testCode(t *testing.T, b Bed) {
	r := b.run(t, sandbox.Process{}, "exit 42")
	if r.err != nil || r.Code != 42 || r.Signal != 0 {
		t.Errorf("got %+v", r)
	}
	r = b.run(t, sandbox.Process{}, "sh -c 'kill -9 $$'; exit $?")
	if r.err != nil || r.Code != 137 {
		t.Errorf("got %+v", r)
	}
	if r.MaxRSS == 0 {
		t.Error("no memory was used")
	}
}

func testOutput(t *testing.T, b Bed) {
	r, _ := b.Root(t, Busybox(t))
	var out, errs bytes.Buffer
	p := sandbox.Process{Args: []string{"sh", "-c", "echo one; echo two >&2; cat; seq 20000"}, Env: env, Stdout: &out, Stderr: &errs}
	if _, err := b.Run(t.Context(), r, p); err != nil {
		t.Fatal(err)
	}
	if errs.String() != "two\n" || out.Len() != 4+108894 {
		t.Errorf("got %d bytes, and %q", out.Len(), errs.String())
	}
	p.Stdout = brokenWriter{}
	if e, err := b.Run(t.Context(), mustRoot(b.Root(t, Busybox(t))), p); !errors.Is(err, errBroken) || e.Code != 0 {
		t.Errorf("got %+v, error %v", e, err)
	}
}

func mustRoot(r sandbox.Root, _ string) sandbox.Root { return r }

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func testExec(t *testing.T, b Bed) {
	var failed *sandbox.ExecError
	for name, want := range map[string]error{"nosuch": syscall.ENOENT, "/bin/nosuch": syscall.ENOENT, "/etc/passwd": syscall.EACCES, "/etc": syscall.EACCES} {
		r := b.run(t, sandbox.Process{Args: []string{name}}, "")
		if !errors.As(r.err, &failed) || !errors.Is(r.err, want) || failed.Name != name {
			t.Errorf("%s: %v, want %v", name, r.err, want)
		}
	}
	if r := b.run(t, sandbox.Process{Args: []string{"sh", "-c", "echo \x00"}}, ""); r.err == nil {
		t.Error("a NUL byte was passed on")
	}
	b.run(t, sandbox.Process{Args: []string{"echo", "a", "", "b c"}}, "").want(t, "a  b c\n")
	b.run(t, sandbox.Process{Cwd: "/bin", Args: []string{"./busybox", "pwd"}}, "").want(t, "/bin\n")
}

const status = "grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb)' /proc/self/status"

func testIdentity(t *testing.T, b Bed) {
	b.run(t, sandbox.Process{}, "id -u; id -g; umask").want(t, "0\n0\n0022\n")
	if b.Limited {
		r := b.run(t, sandbox.Process{UID: 1000, GID: 1000}, "id")
		if !errors.Is(r.err, sandbox.ErrUnsupported) {
			t.Errorf("another user, with one id: %v", r.err)
		}
		return
	}
	r := b.run(t, sandbox.Process{UID: 1000, GID: 1000, Groups: []uint32{7, 8}}, "id -u; id -g; id -G; touch /tmp/x; touch /etc/x || echo refused")
	if !strings.HasPrefix(r.out, "1000\n1000\n1000 7 8\n") || !strings.HasSuffix(r.out, "refused\n") || r.err != nil {
		t.Errorf("got %q, %v", r.out, r.err)
	}
	if info, err := os.Stat(filepath.Join(r.changes, "tmp/x")); err != nil || info.Sys().(*syscall.Stat_t).Uid == uint32(os.Getuid()) {
		t.Errorf("the file of user 1000: %v, %v", info, err)
	}
	if !slices.ContainsFunc(b.View().MountPoints, func(m sandbox.MountPoint) bool { return m.Path == "/proc" }) {
		return
	}
	b.run(t, sandbox.Process{}, status).want(t, statusOf("0", "0", "", "00000000a80425fb"))
	b.run(t, sandbox.Process{UID: 1000, GID: 1000, Groups: []uint32{8}}, status).want(t, statusOf("1000", "1000", "8 ", "0000000000000000"))
}

func statusOf(uid, gid, groups, caps string) string {
	four := func(id string) string { return strings.Join([]string{id, id, id, id}, "\t") }
	return fmt.Sprintf("Uid:\t%s\nGid:\t%s\nGroups:\t%s\nCapInh:\t0000000000000000\nCapPrm:\t%s\nCapEff:\t%s\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n",
		four(uid), four(gid), cmpOr(groups, " "), caps, caps)
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func testDirectory(t *testing.T, b Bed) {
	b.run(t, sandbox.Process{Cwd: "/mnt/dir"}, "pwd").want(t, "/mnt/dir\n")
	b.run(t, sandbox.Process{}, "pwd; ls -d /mnt").want(t, "/\n/mnt\n")
	for _, dir := range []string{"/nosuch", "/etc/passwd", "/proc/self/fd/7", "/proc/self/fd/9/..", "relative"} {
		if r := b.run(t, sandbox.Process{Cwd: dir}, "pwd"); r.err == nil {
			t.Errorf("worked in %s: %s", dir, r.out)
		}
	}
}

func testLimits(t *testing.T, b Bed) {
	limits := []sandbox.Rlimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: 0, Hard: 0}}
	b.run(t, sandbox.Process{Rlimits: limits}, "ulimit -n; ulimit -Hn; ulimit -c").want(t, "100\n200\n0\n")
	if r := b.run(t, sandbox.Process{Rlimits: []sandbox.Rlimit{{Name: "nosuch"}}}, "true"); r.err == nil {
		t.Error("an unknown limit was kept")
	}
}

// source makes a directory to mount.
func source(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "source")
	must(t, os.MkdirAll(filepath.Join(dir, "sub/dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "sub/name"), []byte("content"), 0o644))
	must(t, os.Symlink("/sub", filepath.Join(dir, "link")))
	must(t, os.Symlink("../../../../../../../../etc", filepath.Join(dir, "out")))
	return dir
}

func testSources(t *testing.T, b Bed) {
	dir, file := source(t), filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("mounted"), 0o600))
	p := sandbox.Process{Mounts: []sandbox.Mount{
		{Target: "/mnt/dir", Source: dir},
		{Target: "/mnt/file", Source: file, ReadOnly: true},
		{Target: "/mnt/dir/sub/dir", Tmpfs: true},
	}}
	r := b.run(t, p, "cat /mnt/file /mnt/dir/sub/name; echo new >/mnt/dir/new; touch /mnt/dir/sub/dir/gone")
	r.want(t, "mountedcontent")
	if got, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || string(got) != "new\n" {
		t.Errorf("what was written to the mount: %q, %v", got, err)
	}
	for _, gone := range []string{filepath.Join(r.changes, "mnt/dir/new"), filepath.Join(dir, "sub/dir/gone")} {
		if _, err := os.Lstat(gone); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "mounted" {
		t.Errorf("the mounted file: %q, %v", got, err)
	}
	if b.View().ReadOnly {
		p.Mounts[0].ReadOnly = true
		b.run(t, p, "touch /mnt/dir/x 2>/dev/null || echo refused; touch /mnt/file 2>/dev/null || echo refused").want(t, "refused\nrefused\n")
	}
	for _, m := range []sandbox.Mount{{Target: "/mnt/dir"}, {Target: "/", Source: dir}, {Target: "/mnt/../mnt", Source: dir}, {Target: "/proc/x", Source: dir}, {Target: "/mnt/dir", Source: "relative"}} {
		if r := b.run(t, sandbox.Process{Mounts: []sandbox.Mount{m}}, "true"); r.err == nil {
			t.Errorf("%+v was mounted", m)
		}
	}
}

func testTmpfs(t *testing.T, b Bed) {
	p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Tmpfs: true, Mode: 0o1777, Size: 1 << 20}}}
	r := b.run(t, p, "stat -c %a /mnt/dir; ls /mnt/dir; echo x >/mnt/dir/x")
	r.want(t, "1777\n")
	if _, err := os.Lstat(filepath.Join(r.changes, "mnt/dir/x")); err == nil {
		t.Error("what was in the tmpfs is left")
	}
}

func testSubdir(t *testing.T, b Bed) {
	for sub, want := range map[string]string{"sub": "dir\nname\n", "/sub/": "dir\nname\n", "link": "dir\nname\n", "sub/../link/dir": ""} {
		p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Source: source(t), Subdir: sub}}}
		b.run(t, p, "ls /mnt/dir").want(t, want)
	}
	for _, sub := range []string{"out", "out/passwd", "../../..", "nosuch"} {
		p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Source: source(t), Subdir: sub}}}
		r := b.run(t, p, "ls /mnt/dir")
		if strings.Contains(r.out, "passwd") || r.err == nil && r.out != "link\nout\nsub\n" {
			t.Errorf("subdirectory %s: %q, %v", sub, r.out, r.err)
		}
	}
}

// alive counts processes whose arguments hold a word.
func alive(t testing.TB, word string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), word) {
			n++
		}
	}
	return n
}

func testLeftovers(t *testing.T, b Bed) {
	// A child, a daemon in a session of its own, and one whose parent lives on.
	const script = "sleep 98765 & (setsid sleep 98765 </dev/null >/dev/null 2>&1 &) ; setsid sh -c 'sleep 98765 & sleep 98765' & sleep 0.1; echo done"
	began := time.Now()
	b.run(t, sandbox.Process{}, script).want(t, "done\n")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if n := alive(t, "98765"); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	if n := zombies(t); n != 0 {
		t.Errorf("%d zombies are left", n)
	}
}

// zombies counts children of this process that were not waited for.
func zombies(t testing.TB) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, f := range files {
		b, _ := os.ReadFile(f)
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 1 && fields[0] == "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

func testCancel(t *testing.T, b Bed) {
	r, _ := b.Root(t, Busybox(t))
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(200*time.Millisecond, func() { cancel(cause) })
	p := sandbox.Process{Args: []string{"sh", "-c", "trap '' TERM INT; setsid sleep 87654 & sleep 87654"}, Env: env}
	e, err := b.Run(ctx, r, p)
	if !errors.Is(err, cause) || e.Signal != syscall.SIGKILL || e.Code != 137 {
		t.Errorf("got %+v, error %v", e, err)
	}
	if n := alive(t, "87654"); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	if _, err := b.Run(ctx, r, p); !errors.Is(err, cause) {
		t.Errorf("a run that was cancelled before: %v", err)
	}
}

func testDescriptors(t *testing.T, b Bed) {
	// One that would be inherited by exec.
	fd, err := syscall.Open("/etc", syscall.O_RDONLY, 0)
	must(t, err)
	defer syscall.Close(fd)
	b.run(t, sandbox.Process{}, "ls -d /dev/fd/* 2>/dev/null | wc -l; (: <&"+strconv.Itoa(fd)+") 2>/dev/null || echo closed").
		want(t, map[bool]string{true: "3\nclosed\n", false: "0\nclosed\n"}[b.View().ReadOnly]) // without /proc none is to be seen
}

func testDevices(t *testing.T, b Bed) {
	const script = "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x 2>/dev/null >/dev/full || echo full; stat -c %a /dev/shm; readlink /dev/fd; cat"
	b.run(t, sandbox.Process{}, script).want(t, "3\n3\nfull\n1777\n/proc/self/fd\n")
	if b.View().ReadOnly {
		// What a step makes itself opens nothing: neither here nor below /dev.
		b.run(t, sandbox.Process{}, "for d in / /dev /dev/shm; do mknod $d/x c 1 5 2>/dev/null; head -c 1 $d/x 2>/dev/null || echo refused; done").
			want(t, "refused\nrefused\nrefused\n")
	}
}

func testAtOnce(t *testing.T, b Bed) {
	dir := Busybox(t)
	var all sync.WaitGroup
	for i := range 20 {
		r, changes := b.Root(t, dir)
		all.Go(func() {
			var out bytes.Buffer
			script := fmt.Sprintf("echo %d >/tmp/mine; (setsid sleep 76543 &); ls /tmp; exit %d", i, i)
			e, err := b.Run(t.Context(), r, sandbox.Process{Args: []string{"sh", "-c", script}, Env: env, Stdout: &out})
			got, _ := os.ReadFile(filepath.Join(changes, "tmp/mine"))
			if err != nil || e.Code != i || out.String() != "mine\n" || string(got) != strconv.Itoa(i)+"\n" {
				t.Errorf("run %d: %+v, %v, %q, %q", i, e, err, out.String(), got)
			}
		})
	}
	all.Wait()
	if n := alive(t, "76543"); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// testUntouched checks that a process that changes nothing changes nothing.
func testUntouched(t *testing.T, b Bed) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("mounted"), 0o600))
	r, changes := b.Root(t, Busybox(t))
	before := listing(t, changes)
	p := sandbox.Process{Args: []string{"sh", "-c", "ls /dev /mnt; cat /mnt/file"}, Env: env, Mounts: []sandbox.Mount{
		{Target: "/mnt/dir", Source: source(t)}, {Target: "/mnt/file", Source: file}, {Target: "/mnt/other", Tmpfs: true},
	}}
	if e, err := b.Run(t.Context(), r, p); err != nil || e.Code != 0 {
		t.Fatal(e, err)
	}
	if after := listing(t, changes); !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

func listing(t testing.TB, dir string) (list []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || filepath.Dir(name) == filepath.Join(dir, "bin") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			list = append(list, fmt.Sprintf("%s %v %d %v", strings.TrimPrefix(name, dir), info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	}))
	return list
}

// testHostile has an image point its directories elsewhere: nothing outside of
// the root may change, and nothing may be mounted through a link.
func testHostile(t *testing.T, b Bed) {
	for _, name := range []string{"dev", "proc", "sys", "mnt", "mnt/dir", "mnt/file"} {
		dir, outside := Busybox(t), t.TempDir()
		must(t, os.WriteFile(filepath.Join(outside, "kept"), []byte("kept"), 0o644))
		must(t, os.RemoveAll(filepath.Join(dir, name)))
		must(t, os.Symlink(outside, filepath.Join(dir, name)))
		p := sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Source: source(t)}}}
		if name == "mnt/file" {
			p.Mounts[0] = sandbox.Mount{Target: "/mnt/file", Source: filepath.Join(source(t), "sub/name")}
		}
		r := b.runIn(t, dir, p, "echo ran")
		if r.err == nil && b.View().ReadOnly {
			t.Errorf("/%s as a symlink was mounted on", name)
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) != 1 {
			t.Errorf("/%s as a symlink: outside there is %v, %v", name, entries, err)
		}
	}
}
