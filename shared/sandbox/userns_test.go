package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
)

// stage says what this binary is to be instead of a test: "prepare" is root in
// a mount namespace of its own and becomes an ordinary user, "enter" is that user.
const stage = "SANDBOX_TEST_STAGE"

func TestMain(m *testing.M) {
	switch os.Getenv(stage) {
	case "prepare":
		fmt.Fprintln(os.Stderr, prepare())
		os.Exit(99)
	case "enter":
		os.Exit(enter(m))
	case "overwrite":
		f, err := os.OpenFile("/proc/self/exe", os.O_WRONLY, 0)
		fmt.Println("opened", f != nil, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// prepare gives user 1000 a name and, if asked, subordinate ids, in files that
// only this mount namespace sees.
func prepare() error {
	dir := os.Getenv("SANDBOX_TEST_ETC")
	for name, target := range map[string]string{"passwd": "/etc/passwd", "subuid": "/etc/subuid", "subgid": "/etc/subgid"} {
		source := filepath.Join(dir, name)
		if _, err := os.Stat(source); err != nil {
			continue
		}
		if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", target, err)
		}
	}
	if os.Getenv("SANDBOX_TEST_MASKED") != "" {
		if err := syscall.Mount("tmpfs", "/proc/bus", "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	if err := os.Setenv(stage, "enter"); err != nil {
		return err
	}
	if os.Getenv("SANDBOX_TEST_ROOT") == "" {
		for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(1000), syscall.Setuid(1000)} {
			if err != nil {
				return err
			}
		}
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// enter is what a command's main would do.
func enter(m *testing.M) int {
	if sandbox.InUserNamespace(os.Environ()) {
		if err := sandbox.Conceal(); err != nil {
			fmt.Println(err)
			return 98
		}
		return m.Run()
	}
	n, err := sandbox.PlanUserNamespace()
	if err != nil {
		fmt.Println(err)
		return 97
	}
	fmt.Printf("plan: %v; %v\n", n.IDs, n.Why)
	code, err := n.Enter(context.Background(), os.Args, os.Environ())
	if err != nil {
		fmt.Println(err)
		return 96
	}
	return code
}

// nested runs a test of this binary as user 1000 in a user namespace.
func nested(t *testing.T, test string, env ...string) *exec.Cmd {
	t.Helper()
	needRoot(t)
	etc, err := os.MkdirTemp("", "etc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(etc) })
	passwd := "root:x:0:0::/root:/bin/sh\nbuilder:x:1000:1000::/tmp:/bin/sh\n"
	files := map[string]string{"passwd": passwd, "subuid": "", "subgid": ""}
	if slices.Contains(env, "SUBIDS=1") {
		files["subuid"], files["subgid"] = "builder:100000:65536\n", "other:1:1\n1000:200000:65536\n"
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The binary and the temporary directory must be open to the user.
	tmp := filepath.Join(etc, "tmp")
	self := filepath.Join(etc, "self.test")
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(self, b, 0o755)
	}
	for _, err := range []error{err, os.Chmod(etc, 0o755), os.Mkdir(tmp, 0o755), os.Chown(tmp, 1000, 1000)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(self, "-test.run=^"+test+"$", "-test.v")
	c.Dir = tmp
	c.Env = append(os.Environ(), append(env, stage+"=prepare", "SANDBOX_TEST_ETC="+etc, "TMPDIR="+tmp)...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
	return c
}

func passes(t *testing.T, c *exec.Cmd, words ...string) {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, w := range append(words, "--- PASS") {
		if !strings.Contains(string(out), w) {
			t.Errorf("the output lacks %q:\n%s", w, out)
		}
	}
}

func TestUserNamespace(t *testing.T) {
	for name, c := range map[string]struct {
		env   []string
		words []string
	}{
		"subordinate": {[]string{"SUBIDS=1"}, []string{"plan: subordinate ids"}},
		"masked":      {[]string{"SUBIDS=1", "SANDBOX_TEST_MASKED=1"}, []string{"host pids"}},
		"one":         {[]string{"SANDBOX_TEST_LIMITED=1"}, []string{"plan: one id; user 1000 has no ids in /etc/subuid"}},
		"root":        {[]string{"SANDBOX_TEST_ROOT=1"}, []string{"plan: the same ids"}},
	} {
		t.Run(name, func(t *testing.T) { passes(t, nested(t, "TestInside", c.env...), c.words...) })
	}
}

// TestInside is the contract in a user namespace; it is run by TestUserNamespace.
func TestInside(t *testing.T) {
	if os.Getenv(stage) == "" {
		t.Skip("run by TestUserNamespace")
	}
	o := sandbox.NewOverlay(reaper(t))
	sandboxtest.Contract(t, sandboxtest.Bed{Sandbox: o, Root: overlayRoot, Limited: os.Getenv("SANDBOX_TEST_LIMITED") != ""})
	if o.HostPIDs() {
		fmt.Println("host pids")
	}
	if err := o.Try(t.Context(), t.TempDir()); err != nil {
		t.Errorf("try an overlay: %v", err)
	}
	// A marker of overlayfs' that only user namespaces have.
	r, upper := overlayRoot(t, sandboxtest.Busybox(t))
	if out, err := sh(t, o, r, sandbox.Process{}, "rm -r /mnt && mkdir /mnt && ls -A /mnt"); out != "" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	var b [8]byte
	if n, err := syscall.Getxattr(filepath.Join(upper, "mnt"), "user.overlay.opaque", b[:]); err != nil || string(b[:n]) != "y" {
		t.Errorf("not opaque: %q, %v", b[:n], err)
	}
	if user, err := sandbox.UserXattrs(upper); !user || err != nil {
		t.Errorf("UserXattrs: %v, %v", user, err)
	}
}

func TestUserNamespaceSignal(t *testing.T) {
	c := nested(t, "TestInsideSignal", "SUBIDS=1")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { c.Process.Signal(syscall.SIGTERM) })
	err := c.Wait()
	if c.ProcessState.ExitCode() != 55 {
		t.Errorf("exit code %d, %v:\n%s", c.ProcessState.ExitCode(), err, out.String())
	}
}

func TestInsideSignal(t *testing.T) {
	if os.Getenv(stage) == "" {
		t.Skip("run by TestUserNamespaceSignal")
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	select {
	case <-c:
		os.Exit(55)
	case <-time.After(20 * time.Second):
		t.Fatal("no signal")
	}
}

func TestUserNamespaceDies(t *testing.T) {
	c := nested(t, "TestInsideSignal", "SUBIDS=1", "MARK=65432")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	c.Process.Kill()
	c.Wait()
	time.Sleep(100 * time.Millisecond)
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), "MARK=65432") {
			t.Errorf("%s survived", f)
		}
	}
}
