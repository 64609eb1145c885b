package main

import (
	"slices"
	"strings"
	"testing"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/cli/surfacetest"
)

// Each row has a test that exists, and a script for a flag has its three cases.
func TestSurface(t *testing.T) { surfacetest.Read(t, program()).Check(t) }

// The list of rows knows every flag that kaniko's warmer has. The variables that
// do nothing are the executor's as well; TestVariablesThatAreNotNeeded looks at them.
func TestSurfaceIsWhole(t *testing.T) {
	s := surfacetest.Read(t, program())
	s.Program.Variables = slices.DeleteFunc(s.Program.Variables, func(v flags.Variable) bool { return v.State == flags.Noted })
	s.Whole(t)
}

// Every variable that does nothing here says so by its name, and nothing is said
// of the executor's.
func TestVariablesThatAreNotNeeded(t *testing.T) {
	for _, v := range shared.KanikoVariables() {
		s, err := program().Resolve(nil, []string{v.Name + "=1", "STRAKE_DESTINATION=x"})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Notices(), "\n"); got != v.Name+": "+v.Doc {
			t.Errorf("%s: %q", v.Name, got)
		}
	}
	s, err := program().Resolve(nil, []string{"STRAKE_CACHE_DIRR=x"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Notices(), "\n"); got != "STRAKE_CACHE_DIRR: there is no such variable (did you mean STRAKE_CACHE_DIR?)" {
		t.Errorf("a slip: %q", got)
	}
}
