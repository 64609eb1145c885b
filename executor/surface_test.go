package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/sandbox"
)

// surfaceRow is a line of testdata/surface.txt: something that a pipeline made
// for kaniko can type, set or read back, and the test named after it.
type surfaceRow struct{ kind, name, test string }

func surface(t *testing.T) (rows []surfaceRow) {
	t.Helper()
	text, err := os.ReadFile("testdata/surface.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
		case len(f) < 3:
			t.Errorf("testdata/surface.txt: %q: want KIND NAME TEST", strings.TrimSpace(line))
		default:
			rows = append(rows, surfaceRow{f[0], f[1], strings.Join(f[2:], " ")})
		}
	}
	return rows
}

// Each row has a test that exists, and a script for a flag has its three cases.
func TestSurface(t *testing.T) {
	for _, r := range surface(t) {
		t.Run(r.kind+" "+r.name, func(t *testing.T) {
			kind, at, _ := strings.Cut(r.test, " ")
			switch kind {
			case "script":
				checkScript(t, r)
			case "used":
				checkUsed(t, r.name)
			case "go":
				file, fn, _ := strings.Cut(at, " ")
				contains(t, filepath.Join("..", file), "func "+fn+"(")
			case "case":
				contains(t, filepath.Join("..", at), "")
			default:
				t.Errorf("test %q: not one of script, used, go, case", r.test)
			}
		})
	}
}

func contains(t *testing.T, file, part string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), part) {
		t.Errorf("%s: no %q", file, part)
	}
	return string(text)
}

func checkScript(t *testing.T, r surfaceRow) {
	t.Helper()
	name := r.kind + "-" + strings.TrimLeft(r.name, "-") + ".txtar"
	text := contains(t, filepath.Join("testdata/surface", name), "exec")
	if _, refused := laterFlags()[strings.TrimLeft(r.name, "-")]; r.kind != "flag" || refused {
		return
	}
	for _, part := range []string{"# parse\n", "# effect\n", "# bad value\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("%s: no case %q", name, strings.TrimSpace(part))
		}
	}
}

// checkUsed wants a script that gives the flag, unless it is refused by name,
// which TestLaterFlags looks at.
func checkUsed(t *testing.T, flag string) {
	t.Helper()
	if _, refused := laterFlags()[strings.TrimLeft(flag, "-")]; refused {
		return
	}
	scripts, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile(regexp.QuoteMeta(flag) + `([ =]|$)`)
	for _, f := range scripts {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if word.Match(text) {
			return
		}
	}
	t.Errorf("no script gives %s", flag)
}

// The list of rows knows every flag that kaniko has, so that none of ours that is
// called kaniko's lacks a row, and none of kaniko's is unknown here.
func TestSurfaceIsWhole(t *testing.T) {
	listed := map[string]bool{}
	for _, r := range surface(t) {
		listed[r.kind+" "+r.name] = true
	}
	for _, f := range buildFlags() {
		for i, n := range append([]string{f.Name}, f.Aliases...) {
			if (i > 0 || f.State != flags.New) && !listed["flag --"+n] {
				t.Errorf("flag --%s has no row", n)
			}
		}
	}
	for name := range laterFlags() {
		if len(name) > 1 && !listed["flag --"+name] {
			t.Errorf("flag --%s has no row", name)
		}
	}
	for _, v := range append(program().Variables, shared.KanikoVariables()...) {
		if v.State != flags.New && !listed["variable "+v.Name] {
			t.Errorf("variable %s has no row", v.Name)
		}
	}
	for row := range listed {
		kind, name, _ := strings.Cut(row, " ")
		if kind == "flag" && !typable(strings.TrimLeft(name, "-")) {
			t.Errorf("%s is neither offered nor refused", row)
		}
	}
}

// typable tells whether a flag is known, be it refused.
func typable(name string) bool {
	if _, ok := laterFlags()[name]; ok {
		return true
	}
	for _, f := range buildFlags() {
		for _, n := range append([]string{f.Name}, f.Aliases...) {
			if n == name {
				return true
			}
		}
	}
	return false
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
