package cosign_test

import (
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/manifest/internal/cosign"
)

// cluster speaks as much of Kubernetes as a secret needs, and gives what a pod in it has.
func cluster(t *testing.T, secrets map[string]map[string][]byte) cosign.Keys {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		data, ok := secrets[strings.TrimPrefix(req.URL.Path, "/api/v1/namespaces/ci/secrets/")]
		if req.Header.Get("Authorization") != "Bearer pod-token" || !ok {
			http.Error(w, `{"message": "secrets is forbidden"}`, http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Secret", "data": data})
	}))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	for name, b := range map[string][]byte{"token": []byte("pod-token\n"), "ca.crt": ca} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	host, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
	return cosign.Keys{
		ServiceAccount: dir, Lookup: func(name string) (string, bool) { s, ok := env[name]; return s, ok },
		Password: func(bool) ([]byte, error) { t.Error("it asks for a password"); return nil, nil },
	}
}

// TestSecret takes a pair of keys, and its password, from a secret.
func TestSecret(t *testing.T) {
	pair, err := cosign.Keys{Password: func(bool) ([]byte, error) { return []byte("secret"), nil }}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	whole := map[string][]byte{"cosign.key": pair.Private, "cosign.pub": pair.Public, "cosign.password": []byte("secret")}
	wrong := map[string][]byte{"cosign.key": pair.Private, "cosign.password": []byte("other")}
	keys := cluster(t, map[string]map[string][]byte{"release": whole, "wrong": wrong, "empty": {}})
	sv, err := keys.Signer(t.Context(), "k8s://ci/release")
	if err != nil {
		t.Fatal(err)
	}
	v, err := keys.Verifier(t.Context(), "k8s://ci/release")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sv.SignMessage(strings.NewReader("x"))
	if err != nil || v.VerifySignature(strings.NewReader(string(sig)), strings.NewReader("x")) != nil {
		t.Errorf("it does not verify: %v", err)
	}
	for ref, says := range map[string]string{
		"k8s://ci/wrong": "is the password right", "k8s://ci/empty": "the secret has no cosign.key", "k8s://ci/none": "403",
		"k8s://ci": "want k8s://NAMESPACE/SECRET", "k8s://ci/../x": "want k8s://NAMESPACE/SECRET",
	} {
		if _, err := keys.Signer(t.Context(), ref); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "pod-token") {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := keys.Verifier(t.Context(), "k8s://ci/wrong"); err == nil || !strings.Contains(err.Error(), "the secret has no cosign.pub") {
		t.Error(err)
	}
	// Outside of a cluster, kubectl is asked.
	dir := t.TempDir()
	b, err := json.Marshal(map[string]any{"data": whole})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n[ \"$*\" = 'get secret --namespace ci release --output json' ] || { echo 'no such secret' >&2; exit 1; }\ncat " + dir + "/secret.json\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	keys.Lookup = func(string) (string, bool) { return "", false }
	if _, err := keys.Signer(t.Context(), "k8s://ci/release"); err != nil {
		t.Error(err)
	}
	if _, err := keys.Signer(t.Context(), "k8s://ci/none"); err == nil || !strings.Contains(err.Error(), "no such secret") {
		t.Error(err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := keys.Signer(t.Context(), "k8s://ci/release"); err == nil || !strings.Contains(err.Error(), "no kubectl in PATH") {
		t.Error(err)
	}
}

// TestGitLab takes a pair of keys, and its password, from a project's variables.
func TestGitLab(t *testing.T) {
	pair, err := cosign.Keys{Password: func(bool) ([]byte, error) { return []byte("secret"), nil }}.Generate()
	if err != nil {
		t.Fatal(err)
	}
	whole := map[string]string{"COSIGN_PRIVATE_KEY": string(pair.Private), "COSIGN_PUBLIC_KEY": string(pair.Public), "COSIGN_PASSWORD": "secret"}
	projects := map[string]map[string]string{"acme/app": whole, "17": {"COSIGN_PRIVATE_KEY": string(pair.Private)}, "empty": {"COSIGN_PRIVATE_KEY": ""}}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("somebody else is asked, with the token %q", req.Header.Get("PRIVATE-TOKEN"))
	}))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		parts := strings.Split(strings.TrimPrefix(req.URL.EscapedPath(), "/api/v4/projects/"), "/")
		project, _ := url.PathUnescape(parts[0])
		value, ok := projects[project][parts[len(parts)-1]]
		switch {
		case project == "moved":
			http.Redirect(w, req, elsewhere.URL, http.StatusFound)
		case req.Header.Get("PRIVATE-TOKEN") != "c4n4ry":
			http.Error(w, `{"message": "401 Unauthorized"}`, http.StatusUnauthorized)
		case !ok || len(parts) != 3 || parts[1] != "variables":
			http.Error(w, `{"message": "404 Variable Not Found"}`, http.StatusNotFound)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"variable_type": "env_var", "key": parts[2], "value": value})
		}
	}))
	defer srv.Close()
	env := map[string]string{"GITLAB_TOKEN": "c4n4ry", "GITLAB_HOST": srv.URL}
	asked := 0
	keys := cosign.Keys{
		Lookup:   func(name string) (string, bool) { s, ok := env[name]; return s, ok },
		Password: func(bool) ([]byte, error) { asked++; return []byte("secret"), nil },
	}
	sv, err := keys.Signer(t.Context(), "gitlab://acme/app")
	if err != nil || asked != 0 {
		t.Fatalf("%v, %d times asked for the password", err, asked)
	}
	v, err := keys.Verifier(t.Context(), "gitlab://acme/app")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sv.SignMessage(strings.NewReader("x"))
	if err != nil || v.VerifySignature(strings.NewReader(string(sig)), strings.NewReader("x")) != nil {
		t.Errorf("it does not verify: %v", err)
	}
	if _, err := keys.Signer(t.Context(), "gitlab://17"); err != nil || asked != 1 {
		t.Errorf("a password that is not there: %v, %d times asked", err, asked)
	}
	refused := func(ref, says string) {
		t.Helper()
		if _, err := keys.Signer(t.Context(), ref); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", ref, err)
		}
	}
	refused("gitlab://none", "variable COSIGN_PRIVATE_KEY: 127.0.0.1")
	refused("gitlab://none", "404")
	refused("gitlab://empty", "COSIGN_PRIVATE_KEY is empty")
	refused("gitlab://moved", "302")
	refused("gitlab://", "want gitlab://PROJECT")
	delete(env, "GITLAB_TOKEN")
	refused("gitlab://acme/app", "GITLAB_TOKEN is not set")
}

// TestNoKeyHere: what cannot be used is refused with the way out.
func TestNoKeyHere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for ref, says := range map[string]string{
		"pkcs11:token=t;object=o": "a library in C, which a static program cannot load; a program sigstore-kms-NAME can",
		"pkcs11://t":              "a library in C",
		"github://acme/app":       "in variables (env://NAME)",
		"none://x":                "no program sigstore-kms-none in PATH",
	} {
		if _, err := (cosign.Keys{}).Signer(t.Context(), ref); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
