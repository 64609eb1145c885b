// Package testkit gives integration tests what they need of the world: strake's binaries, a registry that has the
// base images, and a way to run what was built.
package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/strake-build/strake/integration/bases"
	"github.com/strake-build/strake/integration/loopback"
)

// Environment variables that change where a Kit takes things from.
const (
	// ExecutorEnv names a finished executor; without it, one is built from the source.
	ExecutorEnv = "STRAKE_EXECUTOR"
	// BasesEnv names the directory of base images.
	BasesEnv = "STRAKE_BASES"
)

// Kit is made once per test binary, by Main.
type Kit struct {
	// Executor is the path of the binary.
	Executor string
	// Registry is the address of a registry with the base images below library/.
	Registry string
	// Dir is a directory that lives as long as the tests do.
	Dir string

	server *loopback.Server
	count  atomic.Int64
}

// Main makes the kit, hands it to use, runs the tests and cleans up. It is a TestMain's whole body.
func Main(m *testing.M, use func(*Kit), baseNames ...string) {
	ctx := context.Background()
	kit, err := New(ctx, baseNames...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests:", err)
		os.Exit(1)
	}
	use(kit)
	code := m.Run()
	if err := kit.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "clean up after the tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// New makes the named base images where they are missing, starts the registry and builds the executor.
func New(ctx context.Context, baseNames ...string) (*Kit, error) {
	dir, err := os.MkdirTemp("", "strake-test-")
	if err != nil {
		return nil, err
	}
	k := &Kit{Dir: dir}
	if err := k.prepare(ctx, baseNames); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Kit) prepare(ctx context.Context, baseNames []string) error {
	basesDir, err := bases.DefaultDir()
	if err != nil {
		return err
	}
	if d := os.Getenv(BasesEnv); d != "" {
		basesDir = d
	}
	based, err := bases.Ensure(ctx, basesDir, os.Stderr, baseNames...)
	if err != nil {
		return err
	}
	store, err := loopback.OpenStore(filepath.Join(k.Dir, "registry"))
	if err != nil {
		return err
	}
	if k.server, err = loopback.Listen(ctx, 0, &loopback.Handler{Store: store, Bases: based}); err != nil {
		return err
	}
	k.Registry = k.server.Addr
	if k.Executor = os.Getenv(ExecutorEnv); k.Executor != "" {
		return nil
	}
	k.Executor = filepath.Join(k.Dir, "executor")
	return BuildExecutor(ctx, k.Executor)
}

// BuildExecutor compiles the executor as it is released: static, without paths of this machine.
func BuildExecutor(ctx context.Context, out string) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", out, "./executor")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build executor: %w\n%s", err, b)
	}
	return nil
}

// Root is the directory of the workspace.
func Root(ctx context.Context) (string, error) {
	b, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	file := strings.TrimSpace(string(b))
	if err != nil || file == "" || file == "off" {
		return "", fmt.Errorf("find go.work: %q: %w", file, errors.Join(err, errors.ErrUnsupported))
	}
	return filepath.Dir(file), nil
}

// Close ends the registry and removes the directory.
func (k *Kit) Close() error {
	var err error
	if k.server != nil {
		err = k.server.Close()
	}
	return errors.Join(err, os.RemoveAll(k.Dir))
}

// NewRef is a name in the registry that no other test has.
func (k *Kit) NewRef(repo string) string {
	return fmt.Sprintf("%s/test/%s:%d", k.Registry, repo, k.count.Add(1))
}
