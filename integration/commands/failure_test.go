package commands

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

// TestExitCodes checks the codes that scripts rely on; docs/exit-codes.md explains them.
func TestExitCodes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no", "such", "place")
	for _, c := range []struct {
		name       string
		dockerfile string
		build      testkit.Build
		code       int
		says       string
	}{
		{name: "step's own", dockerfile: "FROM busybox\nRUN exit 42\n", code: 42, says: "42"},
		{name: "unknown flag", dockerfile: small, build: testkit.Build{Args: []string{"--nonsense"}}, code: 64, says: "nonsense"},
		{name: "contradiction", dockerfile: small, build: testkit.Build{Args: []string{"--materialize", "--cleanup"}}, code: 64, says: "choose one"},
		{name: "instruction", dockerfile: "FROM busybox\nNONSENSE x\n", code: 65, says: "Dockerfile:2"},
		{name: "lint", dockerfile: "# check=error=true\nFROM busybox\nMAINTAINER me\n", code: 65, says: "MaintainerDeprecated"},
		{name: "context", dockerfile: small, build: testkit.Build{Context: missing}, code: 66, says: missing},
		{name: "copied file", dockerfile: "FROM busybox\nCOPY not-there /\n", code: 66, says: "not-there"},
		{name: "registry", dockerfile: small, build: testkit.Build{Ref: "127.0.0.1:1/x:y", Args: []string{"--push-retry", "0"}}, code: 69, says: "127.0.0.1:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.build
			if b.Context == "" {
				b.Context = testkit.Files(t, map[string]string{"Dockerfile": c.dockerfile, "f": "f"})
			}
			res := run(t, b)
			if res.Code != c.code || !strings.Contains(res.Stderr, c.says) {
				t.Errorf("ended with %d, not %d, or did not say %q:\n%s", res.Code, c.code, c.says, res.Stderr)
			}
			if res.Stdout != "" {
				t.Errorf("printed a result: %q", res.Stdout)
			}
		})
	}
}

// TestFailureShowsWhere checks that a failing step is told with its line, its words and its last output.
func TestFailureShowsWhere(t *testing.T) {
	dir := testkit.Files(t, map[string]string{
		"Dockerfile": "FROM busybox\nENV A=b\nRUN echo nearly && \\\n    ls /not-in-the-image\nRUN true\n",
	})
	res := run(t, testkit.Build{Context: dir})
	for _, want := range []string{"Dockerfile:3", "RUN echo nearly", "ls: /not-in-the-image: No such file"} {
		if !strings.Contains(res.Stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, res.Stderr)
		}
	}
}

// TestTermination stops a build in the middle: no process and no tag stays behind.
func TestTermination(t *testing.T) {
	mark := "91" + time.Now().Format("150405")
	dir := testkit.Files(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN sleep " + mark + " & sleep " + mark + "\n",
	})
	ref := kit.NewRef("terminated")
	cmd := exec.CommandContext(t.Context(), kit.Executor, "--context", dir, "--dockerfile", filepath.Join(dir, "Dockerfile"),
		"--kaniko-dir", filepath.Join(kit.Dir, "state"), "--registry-map", "index.docker.io="+kit.Registry, "--destination", ref, "--insecure")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the step to run", func() bool { return len(processes(t, mark)) > 0 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its code is looked at below
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("ended with %d, not 143:\n%s", code, stderr.String())
	}
	if left := processes(t, mark); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if _, err := imagetree.Pull(t.Context(), ref); err == nil {
		t.Error("the tag was pushed")
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 300 {
		if done() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

// processes lists the sleeps that have the mark as their argument.
func processes(t *testing.T, mark string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err == nil && strings.HasPrefix(string(b), "sleep\x00"+mark) {
			found = append(found, p)
		}
	}
	return found
}

// TestSecretStaysSecret looks for a secret in logs, config and files.
func TestSecretStaysSecret(t *testing.T) {
	const secret = "correct-horse-battery"
	dir := testkit.Files(t, map[string]string{
		"Dockerfile":    "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S test -n \"$S\" && wc -c < /run/secrets/s > /length\n",
		".dockerignore": "secret",
		"secret":        secret,
	})
	ref := kit.NewRef("secret")
	res := run(t, testkit.Build{Context: dir, Ref: ref, Args: []string{"--secret", "id=s,src=" + filepath.Join(dir, "secret"), "--verbosity", "trace"}})
	if res.Code != 0 {
		t.Fatalf("executor ended with %d:\n%s", res.Code, res.Stderr)
	}
	if strings.Contains(res.Stderr+res.Stdout, secret) {
		t.Error("the log holds the secret")
	}
	grep := exec.CommandContext(t.Context(), "grep", "-rlF", secret, filepath.Join(kit.Dir, "state"), filepath.Join(kit.Dir, "registry"))
	if out, err := grep.Output(); err == nil {
		t.Errorf("the secret stands in %s", out)
	}
}
