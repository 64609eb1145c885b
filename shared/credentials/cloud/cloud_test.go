package cloud

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/strake-build/strake/shared/credentials"
)

// Look-alikes of a cloud's hosts have received tokens elsewhere.
func TestServes(t *testing.T) {
	all := All(Options{})
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":          Amazon,
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": Amazon,
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":      Amazon,
		"123456789012.dkr-ecr.eu-west-1.on.aws":                 Amazon,
		"public.ecr.aws":                                        Amazon,
		"gcr.io":                                                Google,
		"eu.gcr.io":                                             Google,
		"europe-docker.pkg.dev":                                 Google,
		"mine.azurecr.io":                                       Azure,
		"mine.azurecr.cn":                                       Azure,
		"mine.azurecr.us":                                       Azure,
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.io":  "",
		"evil.io/123456789012.dkr.ecr.eu-west-1.amazonaws.com":  "",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com:444":      "",
		"1.dkr.ecr.eu-west-1.amazonaws.com":                     "",
		"x@123456789012.dkr.ecr.eu-west-1.amazonaws.com":        "",
		"public.ecr.aws.evil.io":                                "",
		"evilgcr.io":                                            "",
		"gcr.io.evil.io":                                        "",
		"pkg.dev":                                               "",
		"gcr.io:5000":                                           "",
		"evilazurecr.io":                                        "",
		"azurecr.io":                                            "",
		"mine.azurecr.io.evil.io":                               "",
		"mine.azurecr.io:5000":                                  "",
		"evil.io/x.azurecr.io":                                  "",
		"":                                                      "",
		"localhost":                                             "",
	} {
		for name, p := range all {
			if p.Serves(host) != (name == want) {
				t.Errorf("%q: %s says %v", host, name, p.Serves(host))
			}
		}
	}
	if b := Builtin(all); b["ecr-login"] != all[Amazon] || b["acr-env"] != all[Azure] || b["gcr"] != all[Google] || b["pass"] != nil {
		t.Errorf("%v", b)
	}
}

func TestCallFor(t *testing.T) {
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":          "api.ecr.eu-west-1.amazonaws.com ecr eu-west-1",
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "ecr-fips.us-gov-west-1.amazonaws.com ecr us-gov-west-1",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":      "api.ecr.cn-north-1.amazonaws.com.cn ecr cn-north-1",
		"123456789012.dkr-ecr.eu-west-1.on.aws":                 "api.ecr.eu-west-1.amazonaws.com ecr eu-west-1",
		"public.ecr.aws":                                        "api.ecr-public.us-east-1.amazonaws.com ecr-public us-east-1",
	} {
		c, err := callFor(host)
		if got := c.host + " " + c.service + " " + c.region; err != nil || got != want {
			t.Errorf("%s: %s, %v", host, got, err)
		}
	}
}

// offCloud takes away what this machine may have of identities.
func offCloud(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for k, v := range map[string]string{
		"HOME": home, "AWS_CONFIG_FILE": home + "/none", "AWS_SHARED_CREDENTIALS_FILE": home + "/none", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "", "GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": home,
		"AZURE_CLIENT_ID": "", "AZURE_CLIENT_SECRET": "", "AZURE_TENANT_ID": "", "AZURE_FEDERATED_TOKEN_FILE": "", "PATH": home,
	} {
		t.Setenv(k, v)
	}
}

const secret = "s3cr3t"

func TestAmazon(t *testing.T) {
	offCloud(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	password := base64.StdEncoding.EncodeToString([]byte("AWS:" + secret))
	until := time.Now().Add(12 * time.Hour).Truncate(time.Second)
	answer := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if a := req.Header.Get("Authorization"); !strings.Contains(a, "Credential=AKID/") || !strings.Contains(a, "/eu-west-1/ecr/aws4_request") && !strings.Contains(a, "/us-east-1/ecr-public/aws4_request") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if answer == "" {
			w.WriteHeader(http.StatusBadRequest)
			answer = secret
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	a := &amazon{base: s.URL}
	entry := fmt.Sprintf(`{"authorizationToken":%q,"expiresAt":%d,"proxyEndpoint":"x"}`, password, until.Unix())
	for host, text := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": `{"authorizationData":[` + entry + `]}`,
		"public.ecr.aws": `{"authorizationData":` + entry + `}`,
	} {
		answer = text
		c, err := a.get(t.Context(), host)
		if err != nil || c.Username != "AWS" || c.Password != secret || !c.until.Equal(until) {
			t.Errorf("%s: %v, %v", host, c, err)
		}
	}
	for _, answer = range []string{"", secret, `{"authorizationData":[]}`, `{"authorizationData":[{"authorizationToken":"` + secret + `"}]}`} {
		if c, err := a.get(t.Context(), "public.ecr.aws"); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v, %v", answer, c, err)
		}
	}
}

func TestGoogle(t *testing.T) {
	offCloud(t)
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"access_token":"`+secret+`","token_type":"Bearer","expires_in":3600}`)
	}))
	defer s.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "x@y", "token_uri": s.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	})
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	p := All(Options{})[Google]
	c, until, err := p.Credential(t.Context(), "gcr.io")
	if err != nil || c.Username != "oauth2accesstoken" || c.Password != secret || time.Until(until) < time.Minute {
		t.Errorf("%v, %v, %v", c, until, err)
	}
	status = http.StatusForbidden
	if _, _, err := p.Credential(t.Context(), "gcr.io"); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
}

// identity is an Entra identity.
type identity struct{ asked []string }

func (i *identity) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	i.asked = append(i.asked, o.Scopes...)
	return azcore.AccessToken{Token: "entra", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestAzure(t *testing.T) {
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/oauth2/exchange" || req.PostFormValue("access_token") != "entra" || req.PostFormValue("service") != "mine.azurecr.io" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"refresh_token":"`+secret+`"}`)
	}))
	defer s.Close()
	id := &identity{}
	a := &azure{http: s.Client(), base: s.URL, id: id}
	c, err := a.get(t.Context(), "mine.azurecr.io")
	if err != nil || c.IdentityToken != secret || c.Username != "<token>" {
		t.Errorf("%v, %v", c, err)
	}
	status = http.StatusUnauthorized
	if _, err := a.get(t.Context(), "mine.azurecr.io"); err == nil || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
	if _, err := a.get(t.Context(), "mine.azurecr.io.evil.io"); err == nil || len(id.asked) != 2 {
		t.Errorf("%v after %v", err, id.asked)
	}
}

// Off the clouds, everything ends soon, and says that there is nothing.
func TestOffCloud(t *testing.T) {
	offCloud(t)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
	defer silent.Close()
	defer silent.CloseClientConnections()
	u, _ := url.Parse(silent.URL)
	t.Setenv("GCE_METADATA_HOST", u.Host)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent.URL)
	t.Setenv("IDENTITY_ENDPOINT", silent.URL)
	t.Setenv("IDENTITY_HEADER", "x")
	for host, name := range map[string]string{"public.ecr.aws": Amazon, "gcr.io": Google, "mine.azurecr.io": Azure} {
		start := time.Now()
		c, _, err := All(Options{Limit: 300 * time.Millisecond})[name].Credential(t.Context(), host)
		if err == nil {
			t.Errorf("%s: %v from nowhere", name, c)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s: it took %v: %v", name, d, err)
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if _, _, err := All(Options{})[Amazon].Credential(t.Context(), "public.ecr.aws"); !errors.Is(err, credentials.ErrNone) {
		t.Error(err)
	}
}

func TestMetadataIsNotProxied(t *testing.T) {
	proxy, _ := url.Parse("http://proxy.example:3128")
	tr := Options{Proxy: func(*http.Request) (*url.URL, error) { return proxy, nil }}.transport()
	for address, proxied := range map[string]bool{
		"http://169.254.169.254/latest": false, "http://metadata.google.internal/": false, "http://[fd00:ec2::254]/": false,
		"http://169.254.170.2/": false, "https://api.ecr.eu-west-1.amazonaws.com/": true, "https://sts.amazonaws.com": true,
	} {
		u, _ := url.Parse(address)
		if got, err := tr.Proxy(&http.Request{URL: u}); err != nil || (got != nil) != proxied {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
}
