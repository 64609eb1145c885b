package credentials_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/credentials"
)

// program writes docker-credential-NAME, a shell script, into a directory.
func program(t testing.TB, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "good", `read a; echo "{\"ServerURL\":\"$a\",\"Username\":\"$a\",\"Secret\":\"$GREETING\"}"`)
	program(t, dir, "token", `echo '{"Username":"<token>","Secret":"identity"}'`)
	program(t, dir, "none", `echo "credentials not found in native keychain"; exit 1`)
	p := credentials.Programs{Path: []string{"relative", dir}, Environ: []string{"GREETING=hello"}}
	for _, tt := range []struct{ config, repository, want string }{
		{`{"credHelpers":{"r.io":"good"}}`, "r.io/x", "r.io:hello"},
		{`{"credHelpers":{"r.io":"good"}}`, "other.io/x", ""},
		{`{"credHelpers":{"docker.io":"good"}}`, "index.docker.io/library/x", "https://index.docker.io/v1/:hello"},
		{`{"credHelpers":{"r.io":"token"}}`, "r.io/x", "<token>:identity"},
		{`{"credHelpers":{"r.io":"none"},"auths":{"r.io":` + up + `}}`, "r.io/x", "u:p"},
		{`{"credHelpers":{"r.io":"good"},"auths":{"r.io":` + up + `}}`, "r.io/x", "r.io:hello"},
		{`{"credHelpers":{"r.io":"good"},"auths":{"r.io/org":` + up + `}}`, "r.io/org/x", "u:p"},
		{`{"credsStore":"good"}`, "r.io:5000/x", "r.io:5000:hello"},
		{`{"credsStore":"good","auths":{"https://r.io/v1/":{}}}`, "r.io/x", "https://r.io/v1/:hello"},
		{`{"credsStore":"good","auths":{"r.io":` + up + `}}`, "r.io/x", "u:p"},
		{`{"credsStore":"none"}`, "r.io/x", ""},
		{`{"credsStore":"desktop"}`, "r.io/x", ""},
	} {
		if got := find(t, credentials.Sources{Inline: tt.config, Programs: p}, tt.repository); got != tt.want {
			t.Errorf("%s: %s: got %q, want %q", tt.config, tt.repository, got, tt.want)
		}
	}
}

// What a program gives may end while a build runs: it is asked again after a while, and what it gave stays if it fails then.
func TestProgramsAreAskedAgain(t *testing.T) {
	dir := t.TempDir()
	for _, config := range []string{`{"credHelpers":{"r.io":"counts"}}`, `{"credsStore":"counts"}`} {
		for fresh, want := range map[time.Duration]string{time.Nanosecond: "2", 0: "1"} {
			count := filepath.Join(t.TempDir(), "n")
			program(t, dir, "counts", `n=$(($(cat "$COUNT" 2>/dev/null || echo 0)+1)); echo $n >"$COUNT"; echo "{\"Username\":\"u\",\"Secret\":\"$n\"}"`)
			k, err := credentials.New(credentials.Sources{
				Inline: config, Programs: credentials.Programs{Path: []string{dir}, Environ: []string{"COUNT=" + count, "PATH=" + os.Getenv("PATH")}, Fresh: fresh},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"1", want} {
				if c, err := k.Find(t.Context(), "r.io/x"); err != nil || c == nil || c.Password != want {
					t.Errorf("%s, %v: %v, %v; want %s", config, fresh, c, err, want)
				}
			}
			program(t, dir, "counts", "exit 1")
			if c, err := k.Find(t.Context(), "r.io/x"); err != nil || c == nil || c.Password != want {
				t.Errorf("%s, %v: %v, %v after it fails; want %s", config, fresh, c, err, want)
			}
		}
	}
}

func TestMissingStoreIsTold(t *testing.T) {
	var lines []string
	s := credentials.Sources{Inline: `{"credsStore":"desktop"}`, Notice: func(l string) { lines = append(lines, l) }}
	if find(t, s, "r.io/x"); len(lines) != 1 || !strings.Contains(lines[0], "docker-credential-desktop") {
		t.Errorf("%q", lines)
	}
}

func TestProgramFailures(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "fails", `echo `+canary+`; echo `+canary+` >&2; exit 3`)
	program(t, dir, "babbles", `echo 'password: `+canary+`'`)
	program(t, dir, "hangs", `sleep 60 & sleep 60`)
	program(t, dir, "floods", `yes `+canary+` | head -c 3000000; exit 1`)
	p := credentials.Programs{Path: []string{dir}, Limit: 300 * time.Millisecond}
	for name, want := range map[string]string{"fails": "exit status 3", "babbles": "not JSON", "hangs": "no answer within", "floods": ""} {
		limit := p
		if name != "hangs" {
			limit.Limit = time.Minute
		}
		k, err := credentials.New(credentials.Sources{Inline: `{"credHelpers":{"r.io":"` + name + `"},"auths":{"r.io":` + up + `}}`, Programs: limit})
		if err != nil {
			t.Fatal(err)
		}
		// Another account than the one meant must not be used unnoticed.
		c, err := k.Find(t.Context(), "r.io/x")
		if c != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "docker-credential-"+name) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: a secret in %v", name, err)
		}
	}
}

func TestNoProgramFromTheWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	program(t, dir, "evil", `echo '{"Username":"u","Secret":"p"}'`)
	t.Chdir(dir)
	for _, path := range [][]string{nil, {""}, {"."}} {
		k, err := credentials.New(credentials.Sources{Inline: `{"credHelpers":{"r.io":"evil"}}`, Programs: credentials.Programs{Path: path}})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := k.Find(t.Context(), "r.io/x"); err == nil {
			t.Errorf("path %q: %v", path, c)
		}
	}
}

func TestBuiltinStandsInForAProgram(t *testing.T) {
	c := &cloud{host: "cloud.example"}
	s := credentials.Sources{
		Inline:   `{"credHelpers":{"cloud.example":"cloud-login","r.io":"cloud-login"}}`,
		Programs: credentials.Programs{Builtin: map[string]credentials.Provider{"cloud-login": c}},
	}
	if got := find(t, s, "cloud.example/x"); got != "cloud:1" {
		t.Error(got)
	}
	k, err := credentials.New(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Find(t.Context(), "r.io/x"); err == nil {
		t.Errorf("a cloud gave %v for a host that is not its own", got)
	}
	dir := t.TempDir()
	program(t, dir, "cloud-login", `echo '{"Username":"program","Secret":"p"}'`)
	s.Programs.Path = []string{dir}
	if got := find(t, s, "cloud.example/x"); got != "program:p" {
		t.Error(got)
	}
}
