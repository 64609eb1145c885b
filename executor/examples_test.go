package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/shlex"
	"go.yaml.in/yaml/v3"
)

// others are the programs beside this one. They are built for their own word on
// what they take.
func others() []string { return []string{"warmer", "manifest"} }

func buildOthers(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range others() {
		if out, err := exec.Command("go", "build", "-o", dir+"/"+name, "../"+name).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// Every example is YAML, and every command line in it is one that the program takes.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../docs/examples/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	lines, programs := 0, buildOthers(t)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var found [][]string
			if filepath.Ext(f) == ".yaml" {
				found = fromYAML(t, string(text))
			} else {
				found = fromShell(t, string(text))
			}
			for _, l := range found {
				takes(t, programs, l)
			}
			lines += len(found)
		})
	}
	if lines < 15 {
		t.Errorf("%d command lines were found", lines)
	}
}

// The command lines of the documents are taken, too.
func TestMigrationGuide(t *testing.T) {
	lines, programs := 0, buildOthers(t)
	for _, f := range []string{"../docs/migrating-from-kaniko.md", "../README.md", "../docs/warming.md", "../docs/manifest.md"} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code := prose.ReplaceAllString(string(text), "")
		for _, l := range fromShell(t, code) {
			takes(t, programs, l)
			lines++
		}
	}
	if lines < 25 {
		t.Errorf("%d command lines were found", lines)
	}
}

func takes(t *testing.T, dir string, line []string) {
	t.Helper()
	if line[0] != "executor" {
		if out, err := exec.Command(filepath.Join(dir, line[0]), append([]string{"config"}, line[1:]...)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", strings.Join(line, " "), out)
		}
		return
	}
	s, err := program().Resolve(line[1:], nil)
	if err != nil {
		t.Errorf("%s: %v", strings.Join(line, " "), err)
	}
	if s.Command == "" && len(s.Args) > 0 {
		t.Errorf("%s: arguments %q", strings.Join(line, " "), s.Args)
	}
}

// fromYAML finds the containers and the scripts of every document.
func fromYAML(t *testing.T, text string) (found [][]string) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc any
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, walk(t, doc)...)
	}
}

func walk(t *testing.T, v any) (found [][]string) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if line := container(v); line != nil {
			return [][]string{line}
		}
		if settings, ok := v["executor.yaml"].(string); ok {
			path := filepath.Join(t.TempDir(), "executor.yaml")
			if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
				t.Fatal(err)
			}
			found = append(found, []string{"executor", "--config", path})
		}
		for _, x := range v {
			found = append(found, walk(t, x)...)
		}
	case []any:
		for _, x := range v {
			found = append(found, walk(t, x)...)
		}
	case string:
		found = fromShell(t, v)
	}
	return found
}

// container is the command line of a container whose entry point is a program of ours.
func container(m map[string]any) []string {
	image, _ := m["image"].(string)
	args, ok := m["args"].([]any)
	if !ok || m["command"] != nil {
		return nil
	}
	for _, name := range append(others(), "executor") {
		if !strings.Contains(image, "/strake/"+name+":") {
			continue
		}
		line := []string{name}
		for _, a := range args {
			if s, _ := a.(string); s != "$(params.EXTRA_ARGS)" { // Tekton puts a list there
				line = append(line, s)
			}
		}
		return line
	}
	return nil
}

var (
	prose     = regexp.MustCompile(`(?m)^(\S.*)?$`) // code is indented
	continued = regexp.MustCompile(`\\\n\s*`)
	called    = regexp.MustCompile(`(?m)(?:^\s*|\| |run: )(?:/kaniko/)?(executor|warmer|manifest) (.*)$|strake/(executor|warmer|manifest):latest (.*)$`)
)

// fromShell finds the calls in a script.
func fromShell(t *testing.T, text string) (found [][]string) {
	t.Helper()
	for _, m := range called.FindAllStringSubmatch(continued.ReplaceAllString(text, " "), -1) {
		rest, _, _ := strings.Cut(m[2]+m[4], " | ")
		rest, _, _ = strings.Cut(rest, " > ")
		words, err := shlex.Split(rest)
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		found = append(found, append([]string{m[1] + m[3]}, words...))
	}
	return found
}
