package clouds

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/integration/testkit"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

const (
	acr    = "mine.azurecr.io"
	tenant = "11111111-2222-3333-4444-555555555555"
	client = "66666666-7777-8888-9999-000000000000"
)

// TestInsideAzure takes a context from a blob and pushes to ACR.
func TestInsideAzure(t *testing.T) {
	w := newWorld(t)
	port := testkit.FreePort(t)
	testkit.Serve(t, port, []string{"AZURITE_ACCOUNTS=acct:" + base64.StdEncoding.EncodeToString([]byte("key"))}, store("azurite"),
		"--blobHost", "127.0.0.1", "--blobPort", port, "--location", t.TempDir(), "--skipApiVersionCheck", "--disableTelemetry")
	base, sas := "http://127.0.0.1:"+port+"/acct", accountSAS("acct", []byte("key"))
	w.put(base+"/box?restype=container&"+sas, nil, nil)
	w.put(base+"/box/context.tar.gz?"+sas, w.archive(), http.Header{"X-Ms-Blob-Type": {"BlockBlob"}})
	admitted := bearer(entra("https://storage.azure.com"))
	w.named("acct.blob.core.windows.net", behind(base, func(rw http.ResponseWriter, r *http.Request) bool {
		r.URL.RawQuery = sas // Azurite takes tokens over TLS only, from Microsoft's own service
		return admitted(rw, r)
	}))
	registry := registrytest.New(t)
	registry.Require(registrytest.Auth{Bearer: true, User: "-", Password: "-", Identity: "c4n4ry-password", Realm: "https://" + acr + "/token"})
	w.named(acr, behind(registry.Server().URL, func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/oauth2/exchange" {
			return true
		}
		answer(rw, r.PostFormValue("access_token") == entra("https://containerregistry.azure.net") && r.PostFormValue("service") == acr, `{"refresh_token":"c4n4ry-password"}`)
		return false
	}))
	w.named("login.microsoftonline.com", http.HandlerFunc(login))
	w.try([]identity{
		{name: "managed identity of a machine", prepare: func(w *world) []string {
			w.link("169.254.169.254", azureMachine("Metadata", "true", ""))
			return nil
		}},
		{name: "one of several", prepare: func(w *world) []string {
			w.link("169.254.169.254", azureMachine("Metadata", "true", client))
			return []string{"AZURE_CLIENT_ID=" + client}
		}},
		{name: "managed identity of an App Service", prepare: func(w *world) []string {
			return []string{"IDENTITY_ENDPOINT=" + w.local(azureMachine("X-Identity-Header", "c4n4ry-secret", "")), "IDENTITY_HEADER=c4n4ry-secret"}
		}},
		{name: "workload identity", prepare: func(w *world) []string {
			return []string{"AZURE_CLIENT_ID=" + client, "AZURE_TENANT_ID=" + tenant, "AZURE_FEDERATED_TOKEN_FILE=" + w.file("token", "c4n4ry-token")}
		}},
		{name: "federated token in a variable", pushOnly: true, prepare: func(*world) []string {
			return []string{"AZURE_CLIENT_ID=" + client, "AZURE_TENANT_ID=" + tenant, "AZURE_FEDERATED_TOKEN=c4n4ry-token"}
		}},
		{name: "service principal", prepare: func(*world) []string {
			return []string{"AZURE_CLIENT_ID=" + client, "AZURE_TENANT_ID=" + tenant, "AZURE_CLIENT_SECRET=c4n4ry-secret"}
		}},
	}, "https://acct.blob.core.windows.net/box/context.tar.gz", acr+"/app:1", nil)
}

// entra is the token of Entra for a resource.
func entra(resource string) string {
	return "c4n4ry-token for " + strings.TrimSuffix(resource, "/.default")
}

// azureMachine is the metadata service of a machine, or of an App Service.
func azureMachine(header, value, wantClient string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		ok := r.Header.Get(header) == value && q.Get("client_id") == wantClient && q.Get("resource") != ""
		answer(rw, ok, fmt.Sprintf(`{"access_token":%q,"expires_in":"3600","expires_on":"%d","resource":%q,"token_type":"Bearer"}`,
			entra(q.Get("resource")), time.Now().Add(time.Hour).Unix(), q.Get("resource")))
	})
}

// login is Entra's token service.
func login(rw http.ResponseWriter, r *http.Request) {
	const self = "https://login.microsoftonline.com/" + tenant
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		answer(rw, true, `{"tenant_discovery_endpoint":"`+self+`/v2.0/.well-known/openid-configuration","metadata":[{"preferred_network":"login.microsoftonline.com","preferred_cache":"login.windows.net","aliases":["login.microsoftonline.com"]}]}`)
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		answer(rw, true, `{"token_endpoint":"`+self+`/oauth2/v2.0/token","authorization_endpoint":"`+self+`/oauth2/v2.0/authorize","issuer":"`+self+`/v2.0"}`)
	default:
		known := r.PostFormValue("client_assertion") == "c4n4ry-token" || r.PostFormValue("client_secret") == "c4n4ry-secret"
		scope, _, _ := strings.Cut(r.PostFormValue("scope"), " ")
		answer(rw, known && r.PostFormValue("client_id") == client, fmt.Sprintf(`{"access_token":%q,"expires_in":3600,"token_type":"Bearer"}`, entra(scope)))
	}
}

// accountSAS signs a shared access signature for everything
// (https://learn.microsoft.com/rest/api/storageservices/create-account-sas).
func accountSAS(account string, key []byte) string {
	const version, perms, services, kinds = "2020-08-04", "rwc", "b", "co"
	end := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s\n%s\n%s\n\n%s\n\n\n%s\n", account, perms, services, kinds, end, version)
	escape := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D", ":", "%3A")
	sig := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return fmt.Sprintf("sv=%s&ss=%s&srt=%s&sp=%s&se=%s&sig=%s", version, services, kinds, perms, escape.Replace(end), escape.Replace(sig))
}
