package main

import (
	"strings"
	"testing"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/surfacetest"
	"github.com/strake-build/strake/shared/sandbox"
)

// Each row has a test that exists, and a script for a flag has its three cases.
func TestSurface(t *testing.T) { surfacetest.Read(t, program()).Check(t) }

// The list of rows knows every flag that kaniko has, so that none of ours that is
// called kaniko's lacks a row, and none of kaniko's is unknown here.
func TestSurfaceIsWhole(t *testing.T) {
	s := surfacetest.Read(t, program())
	s.Extra = shared.KanikoVariables()
	s.Whole(t)
}

// Every variable that does nothing here says so by its name.
func TestVariablesThatAreNotNeeded(t *testing.T) {
	for _, v := range shared.KanikoVariables() {
		t.Run(v.Name, func(t *testing.T) {
			s, err := program().Resolve([]string{"--no-push"}, []string{v.Name + "=1"})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.Notices(), "\n"); got != v.Name+": "+v.Doc {
				t.Errorf("got %q", got)
			}
		})
	}
	s, err := program().Resolve(nil, []string{"FF_KANIKO_UNHEARD_OF=1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.Notices(), "\n"); got != "FF_KANIKO_UNHEARD_OF: there is no such variable" {
		t.Errorf("an unknown one: %q", got)
	}
}

// The program does not wonder about a variable that it has set itself.
func TestOwnVariable(t *testing.T) {
	env := []string{namespaceVariable + "=1"}
	if !sandbox.InUserNamespace(env) {
		t.Errorf("%s is called otherwise", namespaceVariable)
	}
	s, err := program().Resolve(nil, env)
	if err != nil || len(s.Notices()) > 0 {
		t.Errorf("%q, %v", s.Notices(), err)
	}
}
