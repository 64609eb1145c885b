package sandbox

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// vfork is how steps are made.
const vfork = unix.CLONE_VM | unix.CLONE_VFORK

// status runs p and returns the exit code of its child.
func (p *program) status(t testing.TB, flags uintptr) (int, error) {
	t.Helper()
	c, err := p.fork(flags)
	if err != nil {
		return 0, err
	}
	if err := c.started(); err != nil {
		return 0, err
	}
	var status unix.WaitStatus
	if _, err := retry(func() (int, error) { return unix.Wait4(c.pid, &status, 0, nil) }); err != nil {
		t.Fatal(err)
	}
	return status.ExitStatus(), nil
}

func TestForkExecutes(t *testing.T) {
	for _, flags := range []uintptr{vfork, 0} {
		p := &program{}
		p.add("make a session", unix.SYS_SETSID)
		p.markDescriptors()
		p.exec([]string{"sh", "-c", "exit $CODE"}, []string{"PATH=/nosuch:/etc/passwd:/bin", "CODE=42"})
		if code, err := p.status(t, flags); code != 42 || err != nil {
			t.Errorf("flags %#x: code %d, %v", flags, code, err)
		}
	}
}

func TestForkExecutesNothing(t *testing.T) {
	p := &program{}
	p.add("make a session", unix.SYS_SETSID)
	if code, err := p.status(t, vfork); code != 0 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
}

func TestForkReports(t *testing.T) {
	p := &program{}
	p.try([]syscall.Errno{unix.EBADF}, "close one", unix.SYS_CLOSE, 9999)
	p.add("close another", unix.SYS_CLOSE, 9999).stage = stagePivot
	_, err := p.status(t, vfork)
	var failed *callError
	if !errors.As(err, &failed) || failed.stage != stagePivot || !errors.Is(err, unix.EBADF) || !strings.HasPrefix(err.Error(), "close another: ") {
		t.Errorf("a call that fails: %v", err)
	}

	p = &program{}
	var b byte
	c := p.add("check", unix.SYS_GETPID)
	c.check, c.want = &b, 'x'
	if _, err := p.status(t, vfork); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a check that fails: %v", err)
	}

	for path, want := range map[string]error{"PATH=/nosuch": unix.ENOENT, "PATH=": unix.ENOENT, "PATH=/nosuch:/etc:/nosuch": unix.EACCES} {
		p = &program{}
		p.exec([]string{"passwd"}, []string{path})
		var refused *ExecError
		if _, err := p.status(t, vfork); !errors.As(err, &refused) || !errors.Is(err, want) || refused.Name != "passwd" {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}

	if _, err := (&program{}).status(t, unix.CLONE_SIGHAND); err == nil { // EINVAL without CLONE_VM
		t.Error("clone refused nothing")
	}
}

// TestForkAtOnce has children share this process' memory while its other
// goroutines allocate.
func TestForkAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				p := &program{}
				p.exec([]string{"/bin/sh", "-c", "exit 7"}, []string{strings.Repeat("x", 1<<16)})
				if code, err := p.status(t, vfork); code != 7 || err != nil {
					t.Errorf("code %d, %v", code, err)
				}
			}
		})
	}
	all.Wait()
}

func TestWalkIn(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{unix.Mkdir(root+"/a", 0o755), unix.Mkdir(root+"/a/b", 0o755), unix.Symlink("a", root+"/l")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	fd, err := openPath(root, unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, open := range []func(string) (int, error){
		func(name string) (int, error) { return walkIn(fd, name) },
		func(name string) (int, error) { return openIn(fd, name, unix.RESOLVE_NO_SYMLINKS) },
	} {
		for name, want := range map[string]error{"a/b": nil, ".": nil, "a/./b/": nil, "l": unix.ELOOP, "l/b": unix.ELOOP, "nosuch": unix.ENOENT} {
			got, err := open(name)
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if err == nil {
				unix.Close(got)
			}
		}
	}
	if _, err := walkIn(fd, "a/../../etc"); err == nil {
		t.Error("walked out")
	}
}

func TestSubordinate(t *testing.T) {
	const file = "builder:100000:65536\n# no\n\n1000:300000:10\nother:1:1\nbuilder:0:0\n"
	got, err := subordinate(strings.NewReader(file), "builder", 1000)
	if err != nil || strings.Join(words(rootless(1000, got)), " ") != "0 1000 1 1 100000 65536 65537 300000 10" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := subordinate(strings.NewReader(file), "", 5); err != nil || len(got) != 0 {
		t.Errorf("of nobody: %v, %v", got, err)
	}
	if _, err := subordinate(strings.NewReader("builder:x:1\n"), "builder", 1000); err == nil {
		t.Error("a malformed line was read")
	}
	if got := text(sameIDs([]idRange{{0, 100000, 65536}})); got != "0 0 65536\n" {
		t.Errorf("the same ids: %q", got)
	}
}

func TestOOMCounter(t *testing.T) {
	c := oomCounter{t.TempDir() + "/memory.events"}
	if n := c.read(); n != -1 {
		t.Errorf("without a file: %d", n)
	}
	if err := os.WriteFile(c.file, []byte("low 0\noom 9\noom_kill 3\noom_group_kill 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := waiter{oom: &c, before: 2}
	if e := w.exit(unix.WaitStatus(unix.SIGKILL), &unix.Rusage{}); !e.OOMKilled || e.Signal != unix.SIGKILL || e.Code != 137 {
		t.Errorf("killed: %+v", e)
	}
	w.before = 3
	if e := w.exit(unix.WaitStatus(137<<8), &unix.Rusage{}); e.OOMKilled || e.Signal != 0 || e.Code != 137 {
		t.Errorf("killed by another: %+v", e)
	}
	if found := findOOMCounter(); found.read() < 0 {
		t.Errorf("none found: %+v", found)
	}
}
