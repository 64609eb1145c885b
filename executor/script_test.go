package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"executor": main})
}

// TestScript runs the command as users do, script by script. What a script may
// say besides testscript's own commands stands in commands.
func TestScript(t *testing.T) { runScripts(t, "testdata/script") }

// TestSurfaceScript runs the scripts of what kaniko has, one for each row.
func TestSurfaceScript(t *testing.T) { runScripts(t, "testdata/surface") }

func runScripts(t *testing.T, dir string) {
	t.Helper()
	runs := sync.OnceValues(probeRun(t))
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Setup:               setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands(),
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "run":
				return runs()
			case "far":
				return farAddress() != "", nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
	})
}

// setup gives each script a registry ($REGISTRY), a port where nobody listens
// ($CLOSED), and a home and builder's directory of its own.
func setup(e *testscript.Env) error {
	t, ok := e.T().(testing.TB)
	if !ok {
		return fmt.Errorf("%T is no testing.TB", e.T())
	}
	s := registrytest.New(t)
	closed, err := closedPort()
	if err != nil {
		return err
	}
	e.Values[stageKey{}] = &stage{t, map[string]*registrytest.Server{"REGISTRY": s}}
	home := filepath.Join(e.WorkDir, ".home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	e.Setenv("REGISTRY", s.Host)
	e.Setenv("CLOSED", closed)
	e.Setenv("HOME", home)
	e.Setenv("DOCKER_CONFIG", home)
	e.Setenv("KANIKO_DIR", filepath.Join(e.WorkDir, ".strake"))
	e.Setenv("BUSYBOX", s.Ref("busybox:1"))
	return nil
}

// closedPort is an address where nobody listens any more.
func closedPort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// probeRun tells whether a step can run here, by running one. Only what the
// program itself calls the environment's fault counts as "cannot".
func probeRun(t *testing.T) func() (bool, error) {
	return func() (bool, error) {
		img, err := busybox("")
		if err != nil {
			t.Logf("no RUN here: %v", err)
			return false, nil
		}
		s := registrytest.New(t)
		s.Push(t, "busybox:1", img)
		dir := t.TempDir()
		file := filepath.Join(dir, "Dockerfile")
		if err := os.WriteFile(file, []byte("FROM "+s.Ref("busybox:1")+"\nRUN true\n"), 0o600); err != nil {
			return false, err
		}
		cmd := exec.Command("executor", "--context", dir, "--no-push", "--kaniko-dir", filepath.Join(dir, "own"))
		out, err := cmd.CombinedOutput()
		if err == nil {
			return true, nil
		}
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 78 {
			t.Logf("no RUN here: %s", strings.TrimSpace(string(out)))
			return false, nil
		}
		return false, fmt.Errorf("try a RUN: %w\n%s", err, out)
	}
}
