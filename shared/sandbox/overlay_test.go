package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
)

// sh runs a script in an overlay and returns its output and the upper directory.
func sh(t testing.TB, s sandbox.Sandbox, r sandbox.Root, p sandbox.Process, script string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	p.Args, p.Env, p.Stdout, p.Stderr = []string{"sh", "-c", script}, []string{"PATH=/bin"}, &out, &out
	_, err := s.Run(t.Context(), r, p)
	return out.String(), err
}

func wantOutput(t testing.TB, r sandbox.Root, p sandbox.Process, script, want string) {
	t.Helper()
	if got, err := sh(t, sandbox.NewOverlay(nil), r, p, script); err != nil || got != want {
		t.Errorf("got %q, error %v; want %q", got, err, want)
	}
}

func TestOverlayNamespaces(t *testing.T) {
	needRoot(t)
	dir := sandboxtest.Busybox(t)
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	r, _ := overlayRoot(t, dir)
	wantOutput(t, r, sandbox.Process{Hostname: "buildbox"}, "hostname; echo $$; ls /proc | grep -c '^[0-9]'", "buildbox\n1\n3\n")
	if after, _ := os.Hostname(); after != before {
		t.Errorf("the builder is called %s now", after)
	}
	r, _ = overlayRoot(t, dir)
	wantOutput(t, r, sandbox.Process{Network: sandbox.None}, "ls /sys/class/net; ping -c 1 -w 2 127.0.0.1 >/dev/null && echo loopback", "lo\nloopback\n")
	r, _ = overlayRoot(t, dir)
	wantOutput(t, r, sandbox.Process{}, "ls /sys/class/net | wc -l", fmt.Sprintln(interfaces(t)))
}

func interfaces(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestOverlayMasks(t *testing.T) {
	needRoot(t)
	r, _ := overlayRoot(t, sandboxtest.Busybox(t))
	const script = `
ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v :
cat /proc/timer_list /proc/keys /proc/kcore 2>/dev/null | head -c 10
for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/x; do (echo x >$f) 2>/dev/null && echo wrote $f; done
mount -t tmpfs none /mnt 2>/dev/null && echo mounted
ls -A /dev | grep '^\.'
grep -c ' /proc' /proc/self/mountinfo >/dev/null && echo seen`
	wantOutput(t, r, sandbox.Process{}, script, "\nseen\n")
}

func TestOverlayLayers(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	r, upper := overlayRoot(t, "")
	r.Lower = nil
	for i := range 300 {
		// Names that overlayfs would take for its own syntax.
		dir := filepath.Join(base, fmt.Sprintf("layer:%d,x=\\y", i))
		if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tmp", fmt.Sprint("f", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tmp/top"), []byte(fmt.Sprint(i)), 0o644); err != nil {
			t.Fatal(err)
		}
		r.Lower = append(r.Lower, dir)
	}
	r.Lower = append(r.Lower, sandboxtest.Busybox(t), r.Lower[17])
	wantOutput(t, r, sandbox.Process{}, "ls /tmp | wc -l; cat /tmp/top; rm /tmp/f7; rm -r /mnt; mkdir /mnt", "301\n0")
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(upper, "tmp/f7"), &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFCHR || st.Rdev != 0 {
		t.Errorf("no whiteout: %+v, %v", st, err)
	}
	r.Lower = make([]string, 501)
	if _, err := sh(t, sandbox.NewOverlay(nil), r, sandbox.Process{}, "true"); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("501 layers: %v", err)
	}
}

func TestOverlayMount(t *testing.T) {
	needRoot(t)
	lower, second := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"dir/a": "a", "dir/b": "b", "file": "f"} {
		os.MkdirAll(filepath.Dir(filepath.Join(lower, name)), 0o755)
		if err := os.WriteFile(filepath.Join(lower, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(second, "link")); err != nil {
		t.Fatal(err)
	}
	busybox := sandboxtest.Busybox(t)
	run := func(script, want string, m ...sandbox.Mount) {
		t.Helper()
		r, _ := overlayRoot(t, busybox)
		wantOutput(t, r, sandbox.Process{Mounts: m}, script, want)
	}
	writable, upper := overlayRoot(t, lower)
	writable.Lower = append(writable.Lower, second)
	run("ls /mnt/dir; echo x >/mnt/dir/a && cat /mnt/dir/a; ls -A /dev | grep '^\\.'", "a\nb\nx\n", sandbox.Mount{Target: "/mnt/dir", Overlay: &writable, Subdir: "dir"})
	if b, err := os.ReadFile(filepath.Join(upper, "dir/a")); err != nil || string(b) != "x\n" {
		t.Errorf("the upper directory has %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(lower, "dir/a")); err != nil || string(b) != "a" {
		t.Errorf("the lower directory has %q, %v", b, err)
	}
	for want, r := range map[string]*sandbox.Root{
		"dir\nfile\nlink\n": {Lower: []string{lower, second}},
		"dir\nfile\n":       {Lower: []string{lower}},
		"a\nb\n":            {Dir: filepath.Join(lower, "dir")},
	} {
		run("ls /mnt/dir; touch /mnt/dir/x 2>/dev/null || echo refused; mount | grep -c ' /mnt/dir '", want+"refused\n1\n", sandbox.Mount{Target: "/mnt/dir", Overlay: r, ReadOnly: true})
	}
	one := &sandbox.Root{Lower: []string{lower}}
	run("cat /mnt/file", "f", sandbox.Mount{Target: "/mnt/file", Overlay: one, Subdir: "/file"})
	r, _ := overlayRoot(t, busybox)
	out, err := sh(t, sandbox.NewOverlay(nil), r, sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/dir", Overlay: &sandbox.Root{Lower: []string{second, lower}}, Subdir: "link"}}}, "ls /mnt/dir")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link out of an overlay: %q, %v", out, err)
	}
}

func TestOverlaySocket(t *testing.T) {
	needRoot(t)
	name := filepath.Join(t.TempDir(), "agent")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	r, _ := overlayRoot(t, sandboxtest.Busybox(t))
	wantOutput(t, r, sandbox.Process{Mounts: []sandbox.Mount{{Target: "/mnt/file", Source: name}}}, "test -S /mnt/file && echo socket", "socket\n")
}

// TestOverlayGone checks that nothing stays mounted, here or in a thread.
func TestOverlayGone(t *testing.T) {
	needRoot(t)
	r, upper := overlayRoot(t, sandboxtest.Busybox(t))
	wantOutput(t, r, sandbox.Process{}, "echo x >/tmp/x", "")
	tables, err := filepath.Glob("/proc/self/task/*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if b, _ := os.ReadFile(table); strings.Contains(string(b), filepath.Dir(upper)) {
			t.Errorf("%s still has a mount", table)
		}
	}
	if b, err := os.ReadFile(filepath.Join(upper, "tmp/x")); err != nil || string(b) != "x\n" {
		t.Errorf("the upper directory has %q, %v", b, err)
	}
	// The upper directory is the next step's lower one.
	next, _ := overlayRoot(t, upper)
	next.Lower = append(next.Lower, r.Lower...)
	wantOutput(t, next, sandbox.Process{}, "cat /tmp/x", "x\n")
}

// TestOverlayInterpreter has a program name /proc/self/exe as its interpreter:
// that is this binary, which must not be open to writing (CVE-2019-5736). What
// keeps it closed is that the builder runs for longer than any step.
func TestOverlayInterpreter(t *testing.T) {
	needRoot(t)
	dir := sandboxtest.Busybox(t)
	if err := os.WriteFile(filepath.Join(dir, "evil"), []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, _ := overlayRoot(t, dir)
	var out bytes.Buffer
	p := sandbox.Process{Args: []string{"/evil"}, Env: []string{stage + "=overwrite"}, Stdout: &out, Stderr: &out}
	_, err := sandbox.NewOverlay(nil).Run(t.Context(), r, p)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this binary wants a dynamic linker, which the root has not: try CGO_ENABLED=0")
	}
	if err != nil || !strings.HasPrefix(out.String(), "opened false") {
		t.Errorf("got %q, error %v", out.String(), err)
	}
}

// slowWriter takes its time.
type slowWriter struct{ n int }

func (w *slowWriter) Write(b []byte) (int, error) {
	time.Sleep(1500 * time.Millisecond)
	w.n += len(b)
	return len(b), nil
}

func TestSlowWriter(t *testing.T) {
	needRoot(t)
	r, _ := overlayRoot(t, sandboxtest.Busybox(t))
	var w slowWriter
	p := sandbox.Process{Args: []string{"sh", "-c", "seq 20000"}, Env: []string{"PATH=/bin"}, Stdout: &w}
	if _, err := sandbox.NewOverlay(nil).Run(t.Context(), r, p); err != nil || w.n != 108894 {
		t.Errorf("got %d bytes, error %v", w.n, err)
	}
}
