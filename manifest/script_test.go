package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"manifest": main, "sigstore-kms-fake": holdKey})
}

// TestScript runs the command as users do, script by script. What a script may
// say besides testscript's own commands stands in commands.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                commands(),
	})
}

// setup gives each script a registry ($REGISTRY) and a home of its own.
func setup(e *testscript.Env) error {
	t, ok := e.T().(testing.TB)
	if !ok {
		return fmt.Errorf("%T is no testing.TB", e.T())
	}
	s := registrytest.New(t)
	e.Values[stageKey{}] = &stage{t, map[string]*registrytest.Server{"REGISTRY": s}}
	home := filepath.Join(e.WorkDir, ".home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	e.Setenv("REGISTRY", s.Host)
	e.Setenv("HOME", home)
	e.Setenv("DOCKER_CONFIG", home)
	return nil
}
