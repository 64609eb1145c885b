// Package surfacetest compares what a program can be told with a list of what pipelines tell it, and its documents with its table of flags.
package surfacetest

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/cli/flags"
)

// Row is a line of the list: something that a pipeline made for kaniko can type,
// set or read back, and the test named after it.
type Row struct {
	Kind, Name string
	// Test is "script" (testdata/surface/KIND-NAME.txtar), "used" (some script gives
	// the flag), "go FILE FUNCTION", or "case FILE".
	Test string
}

// Surface is a list of rows beside the program they are about.
type Surface struct {
	Rows    []Row
	Program *flags.Program
	// Extra are variables of kaniko's that need a row, too.
	Extra []flags.Variable
}

// Read reads testdata/surface.txt.
func Read(t *testing.T, p *flags.Program) *Surface {
	t.Helper()
	const file = "testdata/surface.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &Surface{Program: p}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
		case len(f) < 3:
			t.Errorf("%s: %q: want KIND NAME TEST", file, strings.TrimSpace(line))
		default:
			s.Rows = append(s.Rows, Row{f[0], f[1], strings.Join(f[2:], " ")})
		}
	}
	return s
}

// Check wants a test for each row that exists, and three cases of a script for a flag.
func (s *Surface) Check(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range s.Rows {
		if seen[r.Kind+" "+r.Name] {
			t.Errorf("%s %s is there twice", r.Kind, r.Name)
		}
		seen[r.Kind+" "+r.Name] = true
		t.Run(r.Kind+" "+r.Name, func(t *testing.T) {
			kind, at, _ := strings.Cut(r.Test, " ")
			switch kind {
			case "script":
				s.script(t, r)
			case "used":
				s.used(t, r.Name)
			case "go":
				file, fn, _ := strings.Cut(at, " ")
				contains(t, filepath.Join("..", file), "func "+fn+"(")
			case "case":
				contains(t, filepath.Join("..", at), "")
			default:
				t.Errorf("test %q: not one of script, used, go, case", r.Test)
			}
		})
	}
}

// Whole wants a row for every flag and variable that the program says is kaniko's,
// and every row's flag to be known. Scripts that no row names are an error, too.
func (s *Surface) Whole(t *testing.T) {
	t.Helper()
	listed := map[string]bool{}
	for _, r := range s.Rows {
		listed[r.Kind+" "+r.Name] = true
		if r.Kind == "flag" && !s.known(strings.TrimLeft(r.Name, "-")) {
			t.Errorf("flag %s is not offered", r.Name)
		}
	}
	for _, f := range s.Program.Flags {
		for i, n := range append([]string{f.Name}, f.Aliases...) {
			if (i > 0 || f.State != flags.New) && !listed["flag --"+n] {
				t.Errorf("flag --%s has no row", n)
			}
		}
	}
	for _, v := range append(slices.Clone(s.Program.Variables), s.Extra...) {
		if v.State != flags.New && !listed["variable "+v.Name] {
			t.Errorf("variable %s has no row", v.Name)
		}
	}
	scripts, err := filepath.Glob("testdata/surface/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range scripts {
		kind, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".txtar"), "-")
		if kind == "flag" {
			name = "--" + name
		}
		if !listed[kind+" "+name] {
			t.Errorf("%s belongs to no row", f)
		}
	}
}

// known tells whether there is a flag.
func (s *Surface) known(name string) bool {
	return slices.ContainsFunc(s.Program.Flags, func(f flags.Flag) bool {
		return f.Name == name || slices.Contains(f.Aliases, name)
	})
}

func (s *Surface) script(t *testing.T, r Row) {
	t.Helper()
	name := r.Kind + "-" + strings.TrimLeft(r.Name, "-") + ".txtar"
	text := contains(t, filepath.Join("testdata/surface", name), "exec")
	if r.Kind != "flag" {
		return
	}
	for _, part := range []string{"# parse\n", "# effect\n", "# bad value\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("%s: no case %q", name, strings.TrimSpace(part))
		}
	}
}

// used wants a script that gives the flag.
func (s *Surface) used(t *testing.T, flag string) {
	t.Helper()
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

// Document wants a file to be an introduction and the program's table; with update
// it is made so.
func Document(t *testing.T, path, intro string, p *flags.Program, update bool) {
	t.Helper()
	b := bytes.NewBufferString(intro)
	if err := p.Table(b); err != nil {
		t.Fatal(err)
	}
	if update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, b.Bytes()) {
		t.Errorf("%s is not what the table says (%v): go test . -run TestFlagsDocument -update", path, err)
	}
}
