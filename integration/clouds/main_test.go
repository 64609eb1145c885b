// Package clouds builds under the identities that clouds give to machines and pods: contexts come from object stores that
// people run in tests, images go to registries by the clouds' names, and tokens come from services that are played here, at
// the addresses where the clouds have them, in a network of its own.
package clouds

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

// insideEnv tells the test binary that it is in its own network; its value is the executor.
const insideEnv = "STRAKE_TEST_CLOUDS"

// stores are the programs of the object stores, and the variables that name them inside.
var stores = []string{"versitygw", "fake-gcs-server", "azurite"}

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(prepared(m))
}

func prepared(m *testing.M) int {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "strake-clouds-")
	if err == nil {
		defer os.RemoveAll(dir)
		_, err = testkit.Script(ctx, "setup", "contexts")
	}
	if executor = os.Getenv(testkit.ExecutorEnv); executor == "" && err == nil {
		executor = filepath.Join(dir, "executor")
		err = testkit.BuildExecutor(ctx, executor)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests:", err)
		return 1
	}
	return m.Run()
}

// executor is made by prepared.
var executor string

// TestClouds runs the tests of this package that are called TestInside in a network that has the loopback interface only.
func TestClouds(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInside", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"="+executor)
	for _, s := range stores {
		cmd.Env = append(cmd.Env, variable(s)+"="+testkit.ObjectStore(t, s))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInsideAzure") {
		t.Error(err)
	}
}

func variable(store string) string {
	return insideEnv + "_" + strings.ToUpper(strings.ReplaceAll(store, "-", "_"))
}

// inside skips a test outside of the network, and returns the executor.
func inside(t *testing.T) string {
	t.Helper()
	program := os.Getenv(insideEnv)
	if program == "" {
		t.Skip("TestClouds runs it")
	}
	return program
}

// store is the program of an object store.
func store(name string) string { return os.Getenv(variable(name)) }
