package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/integration/imagetree"
)

// Build is one run of the executor.
type Build struct {
	Context    string   // a directory
	Dockerfile string   // a file; empty: Context/Dockerfile
	Ref        string   // where to push; empty: nowhere
	Args       []string // more flags
	Env        []string // more environment
	State      string   // the builder's directory; empty: one for all tests of the kit
}

// Result is what a run left.
type Result struct {
	Code   int
	Stdout string
	Stderr string
	Wall   time.Duration
	// Usage is what the run and its children used.
	Usage *os.ProcessState
}

// Peak is the highest resident memory, in bytes, of the largest of the run's processes.
func (r Result) Peak() int64 {
	usage, ok := r.Usage.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10 // getrusage(2) counts in kibibytes
}

// args are the flags that the executor is run with.
func (k *Kit) args(b Build) []string {
	state := b.State
	if state == "" {
		state = filepath.Join(k.Dir, "state")
	}
	dockerfile := b.Dockerfile
	if dockerfile == "" {
		dockerfile = filepath.Join(b.Context, "Dockerfile")
	}
	args := []string{
		"--context", b.Context, "--dockerfile", dockerfile, "--kaniko-dir", state,
		"--registry-map", "index.docker.io=" + k.Registry,
	}
	if b.Ref == "" {
		args = append(args, "--no-push")
	} else {
		args = append(args, "--destination", b.Ref, "--insecure")
	}
	return append(args, b.Args...)
}

// Run runs the executor. Its error says that it could not be started; a failed build is a Result.
func (k *Kit) Run(ctx context.Context, b Build) (Result, error) {
	cmd := exec.CommandContext(ctx, k.Executor, k.args(b)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), b.Env...)
	start := time.Now()
	err := cmd.Run()
	res := Result{Stdout: stdout.String(), Stderr: stderr.String(), Wall: time.Since(start), Usage: cmd.ProcessState}
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		res.Code = cmd.ProcessState.ExitCode()
		return res, nil
	}
	if err != nil {
		return res, fmt.Errorf("run executor: %w", err)
	}
	return res, nil
}

// MustBuild builds and pushes under a new name, and loads what was pushed.
func (k *Kit) MustBuild(t *testing.T, b Build) imagetree.Image {
	t.Helper()
	if b.Ref == "" {
		b.Ref = k.NewRef("build")
	}
	res, err := k.Run(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != 0 {
		t.Fatalf("executor ended with %d:\n%s", res.Code, tail(res.Stderr, 6000))
	}
	images, err := imagetree.Pull(t.Context(), b.Ref)
	if err != nil {
		t.Fatal(err)
	}
	return images[0]
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// Files writes a build context: file names and their contents.
func Files(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ProxyArgs hands the machine's proxies, if it has any, to the steps of a build.
func ProxyArgs() []string {
	var args []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v := os.Getenv(name); v != "" {
			args = append(args, "--build-arg", name+"="+v)
		}
	}
	return args
}
