package buildcontext_test

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/op/source"
)

// repository has two commits on main, a tag on the first, and a submodule.
type repository struct {
	http.Handler
	first, second string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root := t.TempDir()
	for _, name := range []string{"sub.git", "app.git"} {
		must(t, os.Mkdir(filepath.Join(root, name), 0o755))
		git(t, filepath.Join(root, name), "init", "-q", "-b", "main")
	}
	sub, app := filepath.Join(root, "sub.git"), filepath.Join(root, "app.git")
	put := func(dir, text string) string {
		must(t, os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644))
		git(t, dir, "add", "-A")
		git(t, dir, "commit", "-q", "-m", text)
		return git(t, dir, "rev-parse", "HEAD")
	}
	put(sub, "sub")
	r := &repository{Handler: gitBackend(t, root), first: put(app, "first")}
	git(t, app, "tag", "-a", "v1", "-m", "v1")
	git(t, app, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../sub.git", "lib")
	git(t, app, "config", "-f", ".gitmodules", "submodule.lib.url", "../sub.git")
	r.second = put(app, "second")
	return r
}

func TestGitReferences(t *testing.T) {
	r := newRepository(t)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	yes, no := true, false
	on, off := buildcontext.Git{Submodules: &yes}, buildcontext.Git{Submodules: &no}
	const gitmodules = ".gitmodules = [submodule \"lib\"]\n\tpath = lib\n\turl = ../sub.git\n"
	for _, c := range []struct {
		behind, sum string
		git         buildcontext.Git
		want        string
	}{
		{"", "", buildcontext.Git{}, gitmodules + ", file = second, lib/, lib/file = sub"},
		{"", "", off, gitmodules + ", file = second, lib/"},
		{"?submodules=false", "", on, gitmodules + ", file = second, lib/"},
		{"", "", on, gitmodules + ", file = second, lib/, lib/file = sub"},
		{"#main:lib", "", on, "file = sub"},
		{"?submodules=true&subdir=lib", "", buildcontext.Git{}, "file = sub"},
		{"#v1", "", buildcontext.Git{}, "file = first"},
		{"#refs/tags/v1", "", buildcontext.Git{}, "file = first"},
		{"?tag=v1", "", buildcontext.Git{}, "file = first"},
		{"?tag=v1&commit=" + r.first, "", buildcontext.Git{}, "file = first"},
		{"?tag=v1&commit=" + r.second, "", off, "digest mismatch"},
		{"?branch=main&commit=" + r.first, "", buildcontext.Git{}, "digest mismatch"},
		{"?branch=main&fetch-by-commit&commit=" + r.first, "", buildcontext.Git{}, "file = first"},
		{"?commit=" + r.first, "", buildcontext.Git{}, "file = first"},
		{"", "", buildcontext.Git{Branch: "none"}, `no ref "refs/heads/none"`},
		{"#v1", "", buildcontext.Git{Branch: "none"}, "file = first"},
		{"#" + r.first, "", buildcontext.Git{}, "file = first"},
		{"#refs/heads/main#" + r.first, "", buildcontext.Git{}, "file = first"},
		{"#main", r.second[:12], off, gitmodules + ", file = second, lib/"},
		{"#main", r.first, buildcontext.Git{}, "digest mismatch"},
		{"#main:file", "", buildcontext.Git{}, "not a directory"},
		{"#main:..", "", off, gitmodules + ", file = second, lib/"},
	} {
		src, err := buildcontext.New(s.URL+"/app.git"+c.behind, buildcontext.Options{Git: c.git, Checksum: c.sum})
		must(t, err)
		got, err := fetch(t, src, buildcontext.Means{})
		text := ""
		if err != nil {
			text = err.Error()
		} else if text = list(t, got); text != c.want {
			t.Errorf("%s: got %q", c.behind, text)
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", c.behind, text)
		}
		if err == nil && len(got.Notices) > 0 {
			t.Errorf("%s: notices %q", c.behind, got.Notices)
		}
	}
}

// A submodule that is not for us is an empty folder, as in kaniko, unless it was
// asked for. One that is only out of reach for now must not become one.
func TestGitSubmoduleRefused(t *testing.T) {
	r := newRepository(t)
	status := http.StatusNotFound
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/sub.git") {
			w.WriteHeader(status)
			return
		}
		r.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	yes, no := true, false
	for _, c := range []struct {
		status int
		asked  *bool
		want   string // in the error
		notice string
	}{
		{http.StatusNotFound, nil, "", `submodule "lib": fetch ` + s.URL},
		{http.StatusUnauthorized, nil, "", `submodule "lib": fetch ` + s.URL},
		{http.StatusNotFound, &no, "", ""},
		{http.StatusNotFound, &yes, `submodule "lib"`, ""},
		{http.StatusBadGateway, nil, "--git recurse-submodules=false leaves it out", ""},
	} {
		status = c.status
		src, err := buildcontext.New(s.URL+"/app.git", buildcontext.Options{Git: buildcontext.Git{Submodules: c.asked}})
		must(t, err)
		got, err := fetch(t, src, buildcontext.Means{})
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d: %v", c.status, err)
			continue
		}
		if err != nil {
			continue
		}
		if !strings.HasSuffix(list(t, got), ", lib/") {
			t.Errorf("%d: %s", c.status, list(t, got))
		}
		if all := strings.Join(got.Notices, "\n"); !strings.Contains(all, c.notice) || c.notice == "" && all != "" {
			t.Errorf("%d: notices %q", c.status, all)
		}
	}
}

func TestGitDirAndDepth(t *testing.T) {
	r := newRepository(t)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	for depth, want := range map[int]string{0: "1", 2: "2"} {
		src, err := buildcontext.New(s.URL+"/app.git", buildcontext.Options{Git: buildcontext.Git{KeepGitDir: true, Depth: depth}})
		must(t, err)
		c, err := fetch(t, src, buildcontext.Means{})
		must(t, err)
		dir := t.TempDir()
		must(t, layerCheckout(t, c.Table, dir))
		if got := git(t, dir, "rev-list", "--count", "HEAD"); got != want {
			t.Errorf("depth %d: %s commits", depth, got)
		}
	}
}

func TestGitCredentials(t *testing.T) {
	r := newRepository(t)
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		want string
		git  buildcontext.Git
		user string // in the address
		ok   bool
	}{
		{basic("tok:"), buildcontext.Git{Token: "tok", User: "u", Password: "p"}, "", true},
		{basic("x-access-token:tok"), buildcontext.Git{Token: "tok"}, "", true}, // some want it so
		{basic("u:p"), buildcontext.Git{User: "u", Password: "p"}, "", true},
		{basic("a:b"), buildcontext.Git{}, "a:b@", true},
		{basic("x-access-token:fromsecret"), buildcontext.Git{}, "", true},
		{basic("other:"), buildcontext.Git{Token: "tok"}, "", false},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Authorization") != c.want {
				w.Header().Set("WWW-Authenticate", "Basic")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			r.ServeHTTP(w, req)
		}))
		t.Cleanup(s.Close)
		address := strings.Replace(s.URL, "http://", "http://"+c.user, 1) + "/app.git"
		src, err := buildcontext.New(address, buildcontext.Options{Git: c.git})
		must(t, err)
		got, err := fetch(t, src, buildcontext.Means{Secrets: func(id string) ([]byte, bool) { return []byte("fromsecret"), id == "GIT_AUTH_TOKEN" }})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, source.ErrDenied) {
			t.Errorf("%+v: %v", c.git, err)
		}
		if err == nil && strings.Contains(got.Origin, "a:b") {
			t.Errorf("a password is in %q", got.Origin)
		}
	}
}

func TestGitCertificates(t *testing.T) {
	s := httptest.NewTLSServer(newRepository(t))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for _, c := range []struct {
		git buildcontext.Git
		ok  bool
	}{{buildcontext.Git{}, false}, {buildcontext.Git{CA: ca}, true}, {buildcontext.Git{SkipTLSVerify: true}, true}} {
		// git:// means https.
		src, err := buildcontext.New(strings.Replace(s.URL, "https://", "git://", 1)+"/app.git#v1", buildcontext.Options{Git: c.git})
		must(t, err)
		if _, err := fetch(t, src, buildcontext.Means{}); (err == nil) != c.ok {
			t.Errorf("CA %t, skip %t: %v", c.git.CA != nil, c.git.SkipTLSVerify, err)
		}
	}
	if _, err := buildcontext.New(s.URL+"/app.git", buildcontext.Options{Git: buildcontext.Git{CA: []byte("x")}}); err == nil {
		t.Error("a CA file without a certificate is taken")
	}
}
