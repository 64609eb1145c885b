package main

import (
	"strings"
	"testing"

	settings "github.com/strake-build/strake/shared/cli/flags"
)

// made is the table with what a command line comes to in it.
func made(t *testing.T, environ []string, line string) (*settings.Settings, error) {
	t.Helper()
	p, _ := (&command{}).makeProgram()
	return p.Resolve(strings.Fields(line)[1:], environ)
}

func TestTable(t *testing.T) {
	p, actions := (&command{}).makeProgram()
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	for _, c := range (&command{}).commands() {
		if actions[c.Name] == nil && len(c.Subcommands) == 0 {
			t.Errorf("%s does nothing", c.Name)
		}
	}
}

// Flags stand where people put them: before a command, between its words, and
// before or behind its arguments.
func TestCommandLines(t *testing.T) {
	for in, want := range map[string]string{
		"manifest version --json":                   "version --json=true --",
		"manifest inspect a --raw":                  "inspect --raw=true -- a",
		"manifest create a -t x b --dry-run":        "create --target=x --dry-run=true -- a b",
		"manifest create a --target=x b":            "create --target=x -- a b",
		"manifest create -target x -t=y b":          "create --target=x --target=y -- b",
		"manifest --username u inspect a":           "inspect --username=u -- a",
		"manifest push --type oci from-spec f":      "push from-spec --type=oci -- f",
		"manifest push from-spec f --type oci":      "push from-spec --type=oci -- f",
		"manifest push from-spec -":                 "push from-spec -- -",
		"manifest inspect -- --raw":                 "inspect -- --raw",
		"manifest inspect a -- -b":                  "inspect -- a -b",
		"manifest create a --annotation index:k=-v": "create --annotation=index:k=-v -- a",
	} {
		s, err := made(t, nil, in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := strings.Join(s.CommandLine(), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"manifest create a --nosuch b": "--nosuch: there is no such flag",
		"manifest push":                "want one of from-spec, from-args",
		"manifest push from-nowhere":   "there is no such command",
		"manifest --raw version":       "--raw: there is no such flag",
	} {
		if _, err := made(t, nil, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// A variable has the command's name in it where another command has a flag of
// that name that means something else.
func TestVariables(t *testing.T) {
	env := []string{
		"STRAKE_CREATE_TARGET=r/a:1\nr/a:2", "STRAKE_TARGET=stage", "STRAKE_SIGNATURE_FORMAT=bundle", "STRAKE_DRY_RUN=1",
		"STRAKE_PASSWORD=secret", "STRAKE_PASSWRD=x", "STRAKE_DESTINATION=of the executor", "KANIKO_REGISTRY_MIRROR=m",
	}
	s, err := made(t, env, "manifest create a")
	if err != nil {
		t.Fatal(err)
	}
	want := "create --target=r/a:1 --target=r/a:2 --signature-format=bundle --dry-run=1 --password=secret --registry-mirror=m -- a"
	if got := strings.Join(s.CommandLine(), " "); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := strings.Join(s.Notices(), "\n"); got != "STRAKE_PASSWRD: there is no such variable (did you mean STRAKE_PASSWORD?)" {
		t.Errorf("notices %q", got)
	}
	var b strings.Builder
	if err := s.Text(&b); err != nil || strings.Contains(b.String(), "secret") {
		t.Errorf("config shows the password: %v\n%s", err, b.String())
	}
}
