package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/strake-build/strake/shared/credentials"
)

func file(t testing.TB, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// find gives "user:password" for a repository, "" for none.
func find(t testing.TB, s credentials.Sources, repository string) string {
	t.Helper()
	k, err := credentials.New(s)
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Find(t.Context(), repository)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return ""
	}
	if c.Origin == "" {
		t.Error("a credential without an origin")
	}
	return c.Username + ":" + c.Password + c.IdentityToken + c.RegistryToken
}

// u is an entry whose user is u and password p.
const up = `{"auth":"dTpw"}`

func TestScopes(t *testing.T) {
	config := `{"auths":{
		"r.io":           {"username":"host","password":"p"},
		"r.io/org":       {"username":"org","password":"p"},
		"r.io/org/app":   {"username":"app","password":"p"},
		"r.io:5000":      {"username":"port","password":"p"},
		"https://v1.io/v1/":  {"username":"v1","password":"p"},
		"https://v2.io/v2/":  {"username":"v2","password":"p"},
		"only.io/org-a":  {"username":"a","password":"p"},
		"UPPER.io":       {"username":"upper","password":"p"},
		"tls.io:443":     {"username":"tls","password":"p"}
	}}`
	for repository, want := range map[string]string{
		"r.io/x": "host:p", "r.io/org": "org:p", "r.io/org/x": "org:p", "r.io/organ/x": "host:p",
		"r.io/org/app": "app:p", "r.io/org/app/y": "app:p", "r.io/org/apple": "org:p",
		"r.io:5000/org/app": "port:p", "r.io:5001/org/app": "", "sub.r.io/x": "", "xr.io/x": "",
		"v1.io/x": "v1:p", "v2.io/x": "v2:p",
		"only.io/org-b/x": "", "only.io/org-a/x": "a:p", "only.io/org-ab": "",
		"upper.io/x": "upper:p", "tls.io/x": "tls:p", "tls.io:443/x": "tls:p", "tls.io:80/x": "",
	} {
		if got := find(t, credentials.Sources{Files: []string{file(t, config)}}, repository); got != want {
			t.Errorf("%s: got %q, want %q", repository, got, want)
		}
	}
}

func TestDockerHubByAnyName(t *testing.T) {
	for _, key := range []string{
		"docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/", "https://index.docker.io/v1",
		"https://index.docker.io/v2/", "https://registry-1.docker.io", "index.docker.io/v1/", "https://docker.io",
	} {
		s := credentials.Sources{Inline: fmt.Sprintf(`{"auths":{%q:%s}}`, key, up)}
		for _, repository := range []string{"index.docker.io/library/x", "docker.io/org/x"} {
			if got := find(t, s, repository); got != "u:p" {
				t.Errorf("%s: %s: got %q", key, repository, got)
			}
		}
		if got := find(t, s, "ghcr.io/x"); got != "" {
			t.Errorf("%s: ghcr.io got %q", key, got)
		}
	}
	if got := find(t, credentials.Sources{Inline: `{"auths":{"docker.io/org":` + up + `}}`}, "index.docker.io/library/x"); got != "" {
		t.Error(got)
	}
}

func TestForms(t *testing.T) {
	for entry, want := range map[string]string{
		`{"auth":"dTpw"}`:                           "u:p",
		`{"auth":"dTpwOnE="}`:                       "u:p:q",
		`{"auth":"dTpwOnE"}`:                        "u:p:q",
		`{"username":"u","password":"p"}`:           "u:p",
		`{"identitytoken":"i"}`:                     ":i",
		`{"auth":"dTpw","identitytoken":"i"}`:       "u:pi",
		`{"username":"<token>","password":"i"}`:     "<token>:i",
		`{"registrytoken":"r"}`:                     ":r",
		`{}`:                                        "",
		`{"auth":"dTpw","email":"x@y","future":[]}`: "u:p",
	} {
		if got := find(t, credentials.Sources{Inline: `{"auths":{"r.io":` + entry + `},"HttpHeaders":{}}`}, "r.io/x"); got != want {
			t.Errorf("%s: got %q, want %q", entry, got, want)
		}
	}
}

func TestInlineDoesNotHideTheFile(t *testing.T) {
	s := credentials.Sources{
		Inline: `{"auths":{"a.io":{"username":"inline","password":"p"},"c.io":{"username":"inline","password":"p"}}}`,
		Files: []string{
			file(t, `{"auths":{"a.io":{"username":"file","password":"p"},"b.io":{"username":"file","password":"p"},"c.io/org":{"username":"file","password":"p"}}}`),
			filepath.Join(t.TempDir(), "missing.json"), file(t, ""),
			file(t, `{"auths":{"b.io":{"username":"second","password":"p"}}}`),
		},
	}
	for repository, want := range map[string]string{"a.io/x": "inline:p", "b.io/x": "file:p", "c.io/org/x": "file:p", "c.io/x": "inline:p"} {
		if got := find(t, s, repository); got != want {
			t.Errorf("%s: got %q, want %q", repository, got, want)
		}
	}
}

func TestVariables(t *testing.T) {
	s := credentials.Sources{
		Inline: `{"auths":{"file.example.org":` + up + `}}`,
		Variables: []string{
			"KANIKO_REGISTRY_EXAMPLE_COM_USER=whole", "KANIKO_REGISTRY_EXAMPLE_COM_PASSWORD=p",
			"KANIKO_EXAMPLE_COM_USER=suffix", "KANIKO_EXAMPLE_COM_PASSWORD=p=q",
			"KANIKO_MY_REG_LOCAL_5000_USER=port", "KANIKO_MY_REG_LOCAL_5000_PASSWORD=p",
			"KANIKO_ORG_USER=org", "KANIKO_ORG_PASSWORD=p",
			"KANIKO_HALF_IO_USER=half", "KANIKO_DIR=/kaniko", "NONSENSE", "KANIKO__USER=x", "KANIKO__PASSWORD=x",
		},
	}
	for repository, want := range map[string]string{
		"registry.example.com/x": "whole:p", "other.example.com/x": "suffix:p=q", "a.b.example.com/x": "suffix:p=q",
		"example.com/x": "suffix:p=q", "example.com:5000/x": "", "notexample.com/x": "", "half.io/x": "",
		"my-reg.local:5000/x": "port:p", "my-reg.local/x": "", "my-reg.local:5001/x": "",
		"file.example.org/x": "u:p", "x.org/x": "org:p",
	} {
		if got := find(t, s, repository); got != want {
			t.Errorf("%s: got %q, want %q", repository, got, want)
		}
	}
}

func TestLogins(t *testing.T) {
	s := credentials.Sources{
		Inline: `{"auths":{"gitlab.example:5050/group":{"username":"file","password":"p"}}}`,
		Logins: []credentials.Login{
			{Host: "gitlab.example:5050", User: "ci", Password: "p", Origin: "CI_REGISTRY_USER"},
			{Host: "gitlab.example:443", User: "proxy", Password: "p", Origin: "CI_DEPENDENCY_PROXY_USER"},
		},
	}
	for repository, want := range map[string]string{
		"gitlab.example:5050/x": "ci:p", "gitlab.example:5050/group/x": "file:p", "gitlab.example/group/dependency_proxy/x": "proxy:p", "r.io/x": "",
	} {
		if got := find(t, s, repository); got != want {
			t.Errorf("%s: got %q, want %q", repository, got, want)
		}
	}
	if _, err := credentials.New(credentials.Sources{Logins: []credentials.Login{{Host: "a/b", Origin: "CI_REGISTRY"}}}); err == nil || !strings.Contains(err.Error(), "CI_REGISTRY") {
		t.Error(err)
	}
}

// canary must never be in an error.
const canary = "c4n4ry"

func TestBrokenFiles(t *testing.T) {
	for text, want := range map[string]string{
		`{"auths":{"r.io":{"password":"` + canary + `"}`:     "not JSON at byte",
		`{"auths":{"r.io":{"password":123456}}}`:             "wrong type",
		`["` + canary + `"]`:                                 "wrong type",
		canary:                                               "not JSON",
		strings.Repeat(" ", 5<<20) + `{"auths":{}}`:          "more than",
		`{"auths":{"r.io":{"auth":"` + canary + `!"}}}`:      "entry r.io",
		`{"auths":{"r.io":{"auth":"` + `YzRuNHJ5` + `"}}}`:   "base64 of user:password",
		`{"credHelpers":{"r.io":"../../` + "evil" + `"}}`:    "not the name",
		`{"credHelpers":{"r.io":"not-there"}}`:               "docker-credential-not-there",
		`{"credHelpers":{"r.io":""}}`:                        "not the name",
		`{"auths":{"r.io":{"auth":"OnBhc3N3b3JkYzRuNHJ5"}}}`: "base64 of user:password",
	} {
		f := file(t, text)
		k, err := credentials.New(credentials.Sources{Files: []string{f}})
		if err == nil {
			_, err = k.Find(t.Context(), "r.io/x")
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), f) {
			t.Errorf("%.60s: %v, want %q and the file", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "123456")) {
			t.Errorf("a secret in %v", err)
		}
	}
	// A broken entry harms its own registry only.
	if got := find(t, credentials.Sources{Inline: `{"auths":{"r.io":{"auth":"!"},"ok.io":` + up + `}}`}, "ok.io/x"); got != "u:p" {
		t.Error(got)
	}
}

// cloud is a Provider that counts.
type cloud struct {
	host  string
	asked atomic.Int32
	err   error
	until time.Time
}

func (c *cloud) Name() string            { return "cloud" }
func (c *cloud) Serves(host string) bool { return host == c.host }
func (c *cloud) Credential(context.Context, string) (authn.AuthConfig, time.Time, error) {
	n := c.asked.Add(1)
	return authn.AuthConfig{Username: "cloud", Password: fmt.Sprint(n)}, c.until, c.err
}

func TestProviders(t *testing.T) {
	c := &cloud{host: "cloud.example", until: time.Now().Add(time.Hour)}
	k, err := credentials.New(credentials.Sources{
		Inline: `{"auths":{"cloud.example/mine":` + up + `}}`, Providers: []credentials.Provider{c},
	})
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{"cloud.example/x": "cloud", "cloud.example/mine": "u", "other.example/x": ""} {
		got, err := k.Find(t.Context(), repository)
		if err != nil {
			t.Fatal(err)
		}
		if user := ""; got != nil && got.Username != want || got == nil && user != want {
			t.Errorf("%s: %v", repository, got)
		}
	}
	if _, err := k.Find(t.Context(), "cloud.example/y"); err != nil || c.asked.Load() != 1 {
		t.Errorf("asked %d times, %v", c.asked.Load(), err)
	}
}

func TestProviderThatFailsIsToldOnce(t *testing.T) {
	c := &cloud{host: "cloud.example", err: errors.New("no metadata service")}
	var lines []string
	k, err := credentials.New(credentials.Sources{Providers: []credentials.Provider{c}, Notice: func(l string) { lines = append(lines, l) }})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := k.Find(t.Context(), "cloud.example/x"); got != nil || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	if c.asked.Load() != 1 || len(lines) != 1 || !strings.Contains(lines[0], "no metadata service") {
		t.Errorf("asked %d times, notices %q", c.asked.Load(), lines)
	}
}

func TestExpiredCredentialsAreRenewed(t *testing.T) {
	c := &cloud{host: "cloud.example", until: time.Now().Add(time.Second)}
	k, err := credentials.New(credentials.Sources{Providers: []credentials.Provider{c}})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository("cloud.example/x")
	if err != nil {
		t.Fatal(err)
	}
	a, err := authn.Resolve(t.Context(), k, repo)
	if err != nil {
		t.Fatal(err)
	}
	got, err := authn.Authorization(t.Context(), a)
	if err != nil || got.Password != "2" {
		t.Errorf("%v, %v", got, err)
	}
	repo, _ = name.NewRepository("r.io/x")
	if a, err := authn.Resolve(t.Context(), k, repo); err != nil || a != authn.Anonymous {
		t.Errorf("%v, %v", a, err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"auths":{"r.io/org":{"auth":"dTpw"}},"credHelpers":{"x":"y"},"credsStore":"z"}`, "r.io/org/app")
	f.Fuzz(func(t *testing.T, text, repository string) {
		k, err := credentials.New(credentials.Sources{Inline: text})
		if err != nil {
			return
		}
		_, _ = k.Find(t.Context(), repository)
	})
}
