package buildcontext_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/strake-build/strake/shared/buildcontext"
)

func small(t testing.TB) []byte { return gzipped(t, pack(t, "a = x")) }

// signedBy checks a signature of version 4 by making it again.
func signedBy(t *testing.T, r *http.Request, region string) bool {
	t.Helper()
	when, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	must(t, err)
	_, names, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	for name := range strings.SplitSeq(names, ";") {
		if name != "host" {
			again.Header.Set(name, r.Header.Get(name))
		}
	}
	creds := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}
	must(t, v4.NewSigner().SignHTTP(t.Context(), creds, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, when, func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true
	}))
	return again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

func TestS3Signature(t *testing.T) {
	o := serve(t, noise(t))
	o.admit = func(r *http.Request) bool { return signedBy(t, r, "eu-central-1") }
	o.faults = []fault{{cut: 1 << 20}} // the second request is signed with its range
	s, err := buildcontext.New("s3://b/with space/ü+%.tar", buildcontext.Options{S3: buildcontext.S3{Endpoint: o.URL, Config: fixedKeys}})
	must(t, err)
	fetches(t, s, wantNoise)
	if p := o.requests[0].URL.Path; p != "/b/with space/ü+%.tar" {
		t.Errorf("asked for %q", p)
	}
}

// hosts sends every request to one server, whatever its host: in plain HTTP.
func hosts(s *httptest.Server) *http.Client {
	return &http.Client{Transport: sendTo{s}}
}

type sendTo struct{ s *httptest.Server }

func (h sendTo) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(h.s.URL)
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	out.Host, out.URL.Scheme, out.URL.Host = r.URL.Host, to.Scheme, to.Host
	return h.s.Client().Transport.RoundTrip(out)
}

func TestS3Addresses(t *testing.T) {
	for _, c := range []struct {
		ref, region string
		s3          buildcontext.S3
		host, path  string
	}{
		{"s3://b/k", "", buildcontext.S3{}, "b.s3.us-east-1.amazonaws.com", "/k"},
		{"s3://b", "eu-west-1", buildcontext.S3{}, "b.s3.eu-west-1.amazonaws.com", "/context.tar.gz"},
		{"s3://b/k", "cn-north-1", buildcontext.S3{}, "b.s3.cn-north-1.amazonaws.com.cn", "/k"},
		{"s3://b.c/k", "", buildcontext.S3{}, "s3.us-east-1.amazonaws.com", "/b.c/k"},
		{"s3://b/k", "", buildcontext.S3{Endpoint: "minio.example.com"}, "b.minio.example.com", "/k"},
		{"s3://b/k", "", buildcontext.S3{Endpoint: "https://minio.example.com:9000/x/", PathStyle: true}, "minio.example.com:9000", "/x/b/k"},
		{"s3://b/k", "", buildcontext.S3{Endpoint: "http://minio:9000"}, "minio:9000", "/b/k"},
	} {
		o := serve(t, small(t))
		c.s3.Config = func(context.Context) (aws.Config, error) { return aws.Config{Region: c.region}, nil }
		s, err := buildcontext.New(c.ref, buildcontext.Options{S3: c.s3})
		must(t, err)
		_, err = fetch(t, s, buildcontext.Means{Client: hosts(o.Server)})
		must(t, err)
		if r := o.requests[0]; r.Host != c.host || r.URL.Path != c.path || r.Header.Get("Authorization") != "" {
			t.Errorf("%s: asked %s for %s", c.ref, r.Host, r.URL.Path)
		}
	}
}

// A bucket may be in another region than the one that is set.
func TestS3OtherRegion(t *testing.T) {
	o := serve(t, small(t))
	var regions []string
	inner := o.Config.Handler
	o.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		regions = append(regions, r.Host)
		if r.Host != "b.s3.ap-south-1.amazonaws.com" || !signedBy(t, r, "ap-south-1") {
			w.Header().Set("X-Amz-Bucket-Region", "ap-south-1")
			w.Header().Set("Location", "https://evil.example.com/")
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		inner.ServeHTTP(w, r)
	})
	s, err := buildcontext.New("s3://b/k", buildcontext.Options{S3: buildcontext.S3{Config: fixedKeys}})
	must(t, err)
	_, err = fetch(t, s, buildcontext.Means{Client: hosts(o.Server)})
	must(t, err)
	if len(regions) != 2 {
		t.Errorf("asked %q", regions)
	}
}

func TestErrorsOfStores(t *testing.T) {
	for ref, page := range map[string]string{
		"s3://b/k": `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>No way in</Message></Error>`,
		"gs://b/k": `{"error":{"code":403,"message":"AccessDenied: No way in"}}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, page)
		}))
		t.Cleanup(srv.Close)
		s, err := buildcontext.New(ref, buildcontext.Options{S3: buildcontext.S3{Endpoint: srv.URL}, GCS: buildcontext.GCS{Endpoint: srv.URL}})
		must(t, err)
		fails(t, s, ref+": 403 Forbidden: AccessDenied: No way in", "there are no credentials: set ")
	}
}

// serviceAccount is Google's kind of credentials, for a token server.
func serviceAccount(t *testing.T, tokens string) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "me@example.com", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	must(t, err)
	return data
}

func tokenServer(t *testing.T, path string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestGoogleCredentials(t *testing.T) {
	o := serve(t, small(t))
	o.admit = func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer tok" }
	tokens := tokenServer(t, "/token")
	g := buildcontext.GCS{Credentials: serviceAccount(t, tokens.URL+"/token"), Endpoint: o.URL}
	s, err := buildcontext.New("gs://b/dir/o x", buildcontext.Options{GCS: g})
	must(t, err)
	fetches(t, s, "a = x")
	if p := o.requests[0].URL.EscapedPath(); p != "/storage/v1/b/b/o/dir%2Fo%20x" {
		t.Errorf("asked for %q", p)
	}
	// Those of the machine.
	metadata := tokenServer(t, "/computeMetadata/v1/instance/service-accounts/default/token")
	s, err = buildcontext.New("gs://b/o", buildcontext.Options{GCS: buildcontext.GCS{MetadataHost: strings.TrimPrefix(metadata.URL, "http://")}})
	must(t, err)
	_, err = fetch(t, s, buildcontext.Means{Client: hosts(o.Server)})
	must(t, err)
	// What is no credentials of ours.
	for _, bad := range []string{"x", `{"type":"gdch_service_account"}`, `{"type":"service_account"}`} {
		s, err := buildcontext.New("gs://b/o", buildcontext.Options{GCS: buildcontext.GCS{Credentials: []byte(bad), Endpoint: o.URL}})
		must(t, err)
		fails(t, s, "gs://b/o")
	}
}

// silent accepts connections and says nothing, as a network does that swallows packets.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestSilentMetadataServer(t *testing.T) {
	o := serve(t, small(t))
	s, err := buildcontext.New("gs://b/o", buildcontext.Options{GCS: buildcontext.GCS{MetadataHost: silent(t)}})
	must(t, err)
	_, err = fetch(t, s, buildcontext.Means{Client: hosts(o.Server)})
	must(t, err)
	if a := o.requests[0].Header.Get("Authorization"); a != "" {
		t.Errorf("sent %q", a)
	}
}

func TestAzureCredentials(t *testing.T) {
	o := serve(t, small(t))
	for _, c := range []struct {
		ref   string
		azure buildcontext.Azure
		admit func(*http.Request) bool
	}{
		{"https://acct.blob.core.windows.net/c/b?sv=1&sig=own", buildcontext.Azure{Key: "a2V5", SAS: "sig=other"}, func(r *http.Request) bool {
			return r.URL.Query().Get("sig") == "own" && r.Header.Get("Authorization") == ""
		}},
		{"https://acct.blob.core.windows.net/c/b", buildcontext.Azure{Key: "a2V5", SAS: "?sv=1&sig=other"}, func(r *http.Request) bool {
			return r.URL.Query().Get("sig") == "other" && r.Header.Get("Authorization") == ""
		}},
		{"https://acct.blob.core.windows.net/c/b", buildcontext.Azure{Key: "a2V5"}, func(r *http.Request) bool {
			return strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey acct:")
		}},
		{"https://acct.blob.core.windows.net/c/b", buildcontext.Azure{}, func(r *http.Request) bool {
			return r.Header.Get("Authorization") == "" && r.URL.Path == "/c/b"
		}},
		{"https://acct.blob.core.chinacloudapi.cn/c", buildcontext.Azure{}, func(r *http.Request) bool { return r.URL.Path == "/c/context.tar.gz" }},
	} {
		o.admit = c.admit
		c.azure.Endpoint = o.URL
		s, err := buildcontext.New(c.ref, buildcontext.Options{Azure: c.azure})
		must(t, err)
		got, err := fetch(t, s, buildcontext.Means{})
		if err != nil {
			t.Errorf("%s %+v: %v", c.ref, c.azure, err)
		} else if strings.Contains(got.Origin, "sig") {
			t.Errorf("the signature is in %q", got.Origin)
		}
	}
	o.admit = func(*http.Request) bool { return false }
	s, err := buildcontext.New("https://acct.blob.core.windows.net/c/b?sig=hunter2", buildcontext.Options{Azure: buildcontext.Azure{Endpoint: o.URL}})
	must(t, err)
	if err := fails(t, s, "403"); strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the signature is in %v", err)
	}
	// Hosts that only look like Azure's get none of its credentials.
	for _, h := range []string{"acct.blob.core.windows.net.evil.example", "evil.example/acct.blob.core.windows.net", "x.acct.blob.core.windows.net", "acct-blob.core.windows.net"} {
		o := serve(t, small(t))
		s, err := buildcontext.New("https://"+h+"/c/b", buildcontext.Options{Azure: buildcontext.Azure{Key: "a2V5", SAS: "sig=hunter2"}})
		must(t, err)
		_, err = fetch(t, s, buildcontext.Means{Client: hosts(o.Server)})
		must(t, err)
		if r := o.requests[0]; r.Header.Get("Authorization") != "" || r.URL.RawQuery != "" {
			t.Errorf("%s got credentials", h)
		}
	}
}

func TestChainThatFails(t *testing.T) {
	broken := errors.New("profile x: not there")
	s, err := buildcontext.New("s3://b/k", buildcontext.Options{S3: buildcontext.S3{Config: func(context.Context) (aws.Config, error) { return aws.Config{}, broken }}})
	must(t, err)
	if err := fails(t, s, "s3://b/k"); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
