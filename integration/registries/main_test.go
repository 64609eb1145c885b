// Package registries tests the registry client with registries that people run: distribution in Debian's version 2 and
// the current version 3, and go-containerregistry's.
package registries

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

// Made by TestMain: the programs of distribution, by version, and the executor.
var (
	distributions map[string]string
	executor      string
)

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" { // the other half of TestAirGap, which needs nothing
		os.Exit(m.Run())
	}
	os.Exit(prepared(m))
}

func prepared(m *testing.M) int {
	dir, err := os.MkdirTemp("", "strake-registries-")
	if err == nil {
		defer os.RemoveAll(dir)
		distributions, err = install(context.Background())
	}
	if executor = os.Getenv(testkit.ExecutorEnv); executor == "" && err == nil {
		executor = filepath.Join(dir, "executor")
		err = testkit.BuildExecutor(context.Background(), executor)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests:", err)
		return 1
	}
	return m.Run()
}

func install(ctx context.Context) (map[string]string, error) {
	v2, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, fmt.Errorf("%w; scripts/setup test installs it", err)
	}
	root, err := testkit.Root(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "distribution"), "install")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("install distribution: %w", err)
	}
	return map[string]string{"v2": v2, "v3": strings.TrimSpace(string(out))}, nil
}
