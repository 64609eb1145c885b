// Package warming runs the warmer and the executor on one directory as a cluster would: many at once, killed, and where
// there is no network.
package warming

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

var kit *testkit.Kit

// warmer is the path of the binary.
var warmer string

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run()) // in the namespace that a test made
	}
	testkit.Main(m, func(k *testkit.Kit) {
		kit = k
		if warmer = os.Getenv("STRAKE_WARMER"); warmer != "" {
			return
		}
		var err error
		if warmer, err = buildWarmer(context.Background(), k.Dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}, "busybox:latest")
}

func buildWarmer(ctx context.Context, dir string) (string, error) {
	root, err := testkit.Root(ctx)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "warmer")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", out, "./warmer")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build warmer: %w\n%s", err, b)
	}
	return out, nil
}

// command runs a program and gives its output; code is what it ended with.
func command(t *testing.T, program string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

func must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, code := command(t, program, args...)
	if code != 0 {
		t.Fatalf("%s %v ended with %d:\n%s", filepath.Base(program), args, code, out)
	}
	return out
}
