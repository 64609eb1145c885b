package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// canaries are secrets that a build is given in every way in which builds are given any.
var canaries = map[string]string{
	"build argument":         "canary-argument-1f3a",
	"argument in an address": "canary-argurl-2b4c",
	"variable":               "canary-variable-3c5d",
	"secret":                 "canary-secret-4d6e",
	"registry's password":    "canary-registry-5e7f",
	"context's user":         "canary-user-6f80",
	"context's password":     "canary-password-7a91",
	"context's query":        "canary-query-8ba2",
	"query of ADD":           "canary-add-9cb3",
	"invocation":             "canary-run-adc4",
}

// search looks for canaries in a text, plain and in base64.
func search(t *testing.T, where string, text []byte) {
	t.Helper()
	for what, c := range canaries {
		forms := []string{c}
		for shift := range 3 { // the three places in which it can stand in base64
			b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + c))
			forms = append(forms, b[4:len(b)-4])
		}
		for _, f := range forms {
			if i := bytes.Index(text, []byte(f)); i >= 0 {
				t.Errorf("the %s is in %s: …%q…", what, where, text[max(0, i-80):min(len(text), i+80)])
			}
		}
	}
}

// searchAll looks into every file below a directory, also as it is uncompressed.
func searchAll(t *testing.T, dir string) (files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		search(t, p, raw)
		if z, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
			if raw, err = io.ReadAll(z); err != nil {
				return err
			}
			search(t, p+", uncompressed", raw)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// contextServer has a context for those who know its password and its query, and a file to ADD.
func contextServer(t *testing.T, dockerfile string) *httptest.Server {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{"Dockerfile": dockerfile, "package.json": `{"name":"left-pad","version":"1.3.0"}`} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/context.tar" && r.URL.Query().Get("sig") == canaries["context's query"] && user == canaries["context's user"] && password == canaries["context's password"]:
			_, _ = w.Write(b.Bytes())
		case r.URL.Path == "/added" && r.URL.Query().Get("token") == canaries["query of ADD"]:
			_, _ = io.WriteString(w, "added")
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestNoCanaryIsWritten builds with all that it has, and looks through all that was written.
func TestNoCanaryIsWritten(t *testing.T) {
	runs, err := probeRun(t)()
	if err != nil {
		t.Fatal(err)
	}
	s := registrytest.New(t)
	img, err := busybox("")
	if err != nil && runs {
		t.Fatal(err)
	}
	base := "scratch"
	run := ""
	if runs {
		s.Push(t, "busybox:1", img)
		base = s.Ref("busybox:1")
		run = "RUN --mount=type=secret,id=s test -s /run/secrets/s && test -n \"$NPM_TOKEN\" && test -n \"$MIRROR\" && echo made >/made\n"
	}
	s.Require(registrytest.Auth{User: "me", Password: canaries["registry's password"]})
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:" + canaries["registry's password"]))
	if err := os.WriteFile(filepath.Join(home, "config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.Host, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	web := contextServer(t, "FROM "+base+" AS fails\nARG NPM_TOKEN\nARG MIRROR\nRUN false \"$NPM_TOKEN\" \"$MIRROR\"\n"+
		"FROM "+base+" AS denied\nARG WEB\nADD http://$WEB/none?token="+canaries["query of ADD"]+" /\n"+
		"FROM "+base+"\nARG NPM_TOKEN\nARG MIRROR\nARG WEB\nADD http://$WEB/added?token="+canaries["query of ADD"]+" /added\nCOPY package.json /app/node_modules/left-pad/\n"+run)
	host := strings.TrimPrefix(web.URL, "http://")
	out := filepath.Join(dir, "out")
	// The second finds its steps in the cache.
	for n, target := range []string{"", "", "fails", "denied"} {
		cmd := exec.Command("executor", "--target", target,
			"--context", "http://"+canaries["context's user"]+":"+canaries["context's password"]+"@"+host+"/context.tar?sig="+canaries["context's query"],
			"--build-arg", "NPM_TOKEN="+canaries["build argument"], "--build-arg", "WEB="+host,
			"--build-arg", "MIRROR=https://me:"+canaries["argument in an address"]+"@mirror.example/?x",
			"--secret", "id=s,env=CANARY_SECRET", "--kaniko-dir", filepath.Join(dir, "own"), "--verbosity", "trace",
			"--destination", s.Ref("app:1"), "--oci-layout-path", filepath.Join(out, "layout"),
			"--cache", "--cache-repo", "oci:"+filepath.Join(out, "cache"), "--cache-explain", "--cache-copy-layers",
			"--provenance", "max", "--sbom", "spdx,cyclonedx", "--attestation-to", "referrer", "--attestation-to", "dir="+filepath.Join(out, "told"),
			"--metadata-file", filepath.Join(out, "metadata.json"), "--timings-file", filepath.Join(out, "timings.json"),
		)
		cmd.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+home, "CANARY_SECRET="+canaries["secret"], "AWS_SECRET_ACCESS_KEY="+canaries["variable"],
			"CI_JOB_URL=https://x:"+canaries["invocation"]+"@ci.example/run/1")
		log, err := cmd.CombinedOutput()
		search(t, fmt.Sprintf("the log of build %d", n+1), log)
		if (err != nil) != (target != "") {
			t.Fatalf("%v\n%s", err, log)
		}
	}
	if files := searchAll(t, out); files < 10 {
		t.Errorf("only %d files were looked through", files)
	}
	told, err := os.ReadFile(filepath.Join(out, "told", "provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"http://" + host + "/context.tar\"", "http://" + host + "/added\"", "https://mirror.example/", "https://ci.example/run/1"} {
		if !bytes.Contains(told, []byte(want)) {
			t.Errorf("the provenance does not tell of %s: %s", want, told)
		}
	}
}
