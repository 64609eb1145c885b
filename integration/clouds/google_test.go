package clouds

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

const (
	gar         = "europe-docker.pkg.dev"
	googleToken = `{"access_token":"c4n4ry-token","token_type":"Bearer","expires_in":3600,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`
)

// TestInsideGoogle takes a context from Cloud Storage and pushes to Artifact Registry.
func TestInsideGoogle(t *testing.T) {
	w := newWorld(t)
	root, port := t.TempDir(), testkit.FreePort(t)
	if err := os.MkdirAll(filepath.Join(root, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bucket", "context.tar.gz"), w.archive(), 0o644); err != nil {
		t.Fatal(err)
	}
	testkit.Serve(t, port, nil, store("fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-data", root)
	w.named("storage.googleapis.com", behind("http://127.0.0.1:"+port, bearer("c4n4ry-token")))
	registry := registrytest.New(t)
	registry.Require(registrytest.Auth{User: "oauth2accesstoken", Password: "c4n4ry-token"})
	w.named(gar, behind(registry.Server().URL, pass))
	w.try([]identity{
		// Google's library for registries also asks for a name, or the machine's firmware, which this machine has not.
		{name: "metadata", contextOnly: true, prepare: func(w *world) []string {
			w.link("169.254.169.254", googleMachine())
			return nil
		}},
		{name: "metadata elsewhere", prepare: func(w *world) []string {
			return []string{"GCE_METADATA_HOST=" + strings.TrimPrefix(w.local(googleMachine()), "http://")}
		}},
		{name: "service account", prepare: func(w *world) []string {
			return []string{"GOOGLE_APPLICATION_CREDENTIALS=" + w.file("key.json", w.serviceAccount())}
		}},
		{name: "workload identity federation", prepare: func(w *world) []string {
			return []string{"GOOGLE_APPLICATION_CREDENTIALS=" + w.file("federated.json", w.federated())}
		}},
	}, "gs://bucket", gar+"/project/repo/app:1", nil)
}

// googleMachine is the metadata server of a machine.
func googleMachine() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Metadata-Flavor", "Google")
		switch r.URL.Path {
		case "/":
		case "/computeMetadata/v1/instance/service-accounts/default/token":
			answer(rw, r.Header.Get("Metadata-Flavor") == "Google", googleToken)
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	})
}

// serviceAccount is the key file of a service account.
func (w *world) serviceAccount() string {
	w.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.Fatal(err)
	}
	tokens := w.local(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, strings.Count(r.PostFormValue("assertion"), ".") == 2, googleToken)
	}))
	return text(map[string]any{
		"type": "service_account", "client_email": "builder@example.com", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
}

// federated is a file by which a pod elsewhere trades its own token.
func (w *world) federated() string {
	w.named("sts.googleapis.com", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer(rw, r.PostFormValue("subject_token") == "of the pod", googleToken)
	}))
	return text(map[string]any{
		"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token",
		"credential_source": map[string]string{"file": w.file("pod-token", "of the pod")},
	})
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of a test
	}
	return string(b)
}
