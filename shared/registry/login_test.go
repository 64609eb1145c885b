package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

const canary = "c4n4ry"

// A token is renewed before it ends: the registry never has to refuse.
func TestTokenIsRenewedInTime(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: true, Life: 1})
	c := client(t, registry.Options{Keychain: keys{s.Host: {Username: "u", Password: "p"}}})
	img, err := c.Image(t.Context(), s.Ref("a:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	before := s.Count("", "/token")
	time.Sleep(900 * time.Millisecond) // past four fifths of its life
	s.Forget()
	read(t, img.Layers[0])
	rs := s.Requests()
	if before != 1 || len(rs) != 2 || rs[0].Path != "/token" {
		t.Errorf("%d tokens before, then %v", before, rs)
	}
}

func TestTokensAndIdentities(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: true, Identity: "refresh"})
	for name, tt := range map[string]struct {
		c  authn.AuthConfig
		ok bool
	}{
		"identity":       {authn.AuthConfig{IdentityToken: "refresh"}, true},
		"wrong identity": {authn.AuthConfig{IdentityToken: "other"}, false},
		"wrong token":    {authn.AuthConfig{RegistryToken: "other"}, false},
	} {
		_, err := client(t, registry.Options{Keychain: keys{s.Host: tt.c}}).Image(t.Context(), s.Ref("a:1"), nil)
		if tt.ok != (err == nil) || err != nil && !errors.Is(err, registry.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A token of the user's own is used as it is, and no other is asked for.
	var got string
	s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: true})
	c := client(t, registry.Options{Keychain: keys{s.Host: {Username: "u", Password: "p"}}})
	if _, err := c.Image(t.Context(), s.Ref("a:1"), nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Requests() {
		if a := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); strings.HasPrefix(a, "token-") {
			got = a
		}
	}
	s.Forget()
	if _, err := client(t, registry.Options{Keychain: keys{s.Host: {RegistryToken: got}}}).Image(t.Context(), s.Ref("a:1"), nil); err != nil || s.Count("", "/token") != 0 {
		t.Errorf("%v after %d tokens", err, s.Count("", "/token"))
	}
}

// A registry that answers anybody's first question may still ask for a token later.
func TestLateChallenge(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: true})
	s.Server().Config.Handler = func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/v2/" {
				return
			}
			next.ServeHTTP(w, req)
		}
	}(s.Server().Config.Handler)
	c := client(t, registry.Options{Keychain: keys{s.Host: {Username: "u", Password: "p"}}})
	if _, err := c.Image(t.Context(), s.Ref("a:1"), nil); err != nil {
		t.Error(err)
	}
}

// Whoever answers for a registry must not have its password sent to himself.
func TestTokenServiceElsewhere(t *testing.T) {
	for name, c := range map[string]authn.AuthConfig{
		"password": {Username: "u", Password: canary},
		"identity": {IdentityToken: canary},
	} {
		t.Run(name, func(t *testing.T) {
			s, thief := registrytest.New(t), registrytest.New(t)
			s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
			s.Require(registrytest.Auth{User: "u", Password: canary, Bearer: true, Realm: "http://" + strings.Replace(thief.Host, "127.0.0.1", "localhost", 1) + "/token"})
			o := registry.Options{Keychain: keys{s.Host: c}}
			_, err := client(t, o).Image(t.Context(), s.Ref("a:1"), nil)
			if !errors.Is(err, registry.ErrUntrusted) || !strings.Contains(err.Error(), "--registry-token-service") {
				t.Error(err)
			}
			if len(thief.Requests()) > 0 {
				t.Errorf("the thief got %v", thief.Requests())
			}
		})
	}
}

func TestTokenServiceThatRedirects(t *testing.T) {
	s, thief := registrytest.New(t), registrytest.New(t)
	s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	for _, c := range []authn.AuthConfig{{Username: "u", Password: canary}, {IdentityToken: canary}} {
		s.Heal()
		s.Require(registrytest.Auth{User: "u", Password: canary, Bearer: true})
		s.Fail(registrytest.Fault{Path: "/token", Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://" + thief.Host + "/token"}}})
		if _, err := client(t, registry.Options{Keychain: keys{s.Host: c}}).Image(t.Context(), s.Ref("a:1"), nil); err == nil {
			t.Error("the redirect was followed")
		}
		if thief.Saw(canary) {
			t.Error("the thief has it")
		}
	}
}

func TestRealms(t *testing.T) {
	for _, tt := range []struct {
		registry, realm string
		plain, ok       bool
	}{
		{"index.docker.io", "https://auth.docker.io/token", false, true},
		{"registry.gitlab.com", "https://gitlab.com/jwt/auth", false, true},
		{"gitlab.example.com:5050", "https://gitlab.example.com/jwt/auth", false, true},
		{"registry.example.co.uk", "https://auth.example.co.uk/token", false, true},
		{"10.0.0.1:5050", "https://10.0.0.1/token", false, true},
		{"localhost:5000", "http://localhost:5001/token", true, true},
		{"dhi.io", "https://auth.docker.io/token", false, true},
		{"rg.fr-par.scw.cloud", "https://api.scaleway.com/registry/auth", false, true},
		{"corp.example", "https://sso.other.example/token", false, true}, // by the option
		{"r.io", "https://evil.io/token", false, false},
		{"r.io", "https://r.io.evil.io/token", false, false},
		{"a.co.uk", "https://b.co.uk/token", false, false},
		{"x.github.io", "https://y.github.io/token", false, false},
		{"10.0.0.1", "https://10.0.0.2/token", false, false},
		{"r.io", "http://r.io/token", false, false},
		{"localhost:5000", "http://127.0.0.1:5000/token", true, false},
		{"r.io", "http://auth.r.io/token", true, false},
		{"r.io", "https://user@r.io/token", false, false},
		{"r.io", "file:///etc/passwd", false, false},
		{"r.io", "/token", false, false},
		{"r.io", "%zz", false, false},
	} {
		err := registry.CheckRealm(map[string]string{"corp.example": "sso.other.example"}, tt.registry, tt.realm, tt.plain)
		if (err == nil) != tt.ok {
			t.Errorf("%s, %s: %v", tt.registry, tt.realm, err)
		}
	}
	if _, err := registry.New(registry.Options{TokenServices: map[string]string{"https://r.io": "x"}}); err == nil {
		t.Error("a URL for a host")
	}
}

// told is an authenticator that says where it comes from.
type told struct{ authn.Authenticator }

func (told) Origin() string { return "config.json, entry r.io" }

type oneKey struct{ authn.Authenticator }

func (k oneKey) Resolve(authn.Resource) (authn.Authenticator, error) { return k, nil }
func (k oneKey) Origin() string                                      { return told{}.Origin() }

func TestRefusalNamesTheCredential(t *testing.T) {
	s := registrytest.New(t)
	for _, bearer := range []bool{false, true} {
		s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: bearer})
		k := oneKey{authn.FromConfig(authn.AuthConfig{Username: "u", Password: canary})}
		_, err := client(t, registry.Options{Keychain: k}).Image(t.Context(), s.Ref("a:1"), nil)
		if err == nil || !strings.Contains(err.Error(), "config.json, entry r.io") || strings.Contains(err.Error(), canary) {
			t.Error(err)
		}
		_, err = client(t, registry.Options{}).Image(t.Context(), s.Ref("a:1"), nil)
		if err == nil || !strings.Contains(err.Error(), "no credentials for "+s.Host) {
			t.Error(err)
		}
	}
}

// The canary search: whatever a registry does, its credential stays with it.
func TestCredentialStaysHome(t *testing.T) {
	for name, spoil := range map[string]func(s *registrytest.Server, to string){
		"redirected blob": func(s *registrytest.Server, to string) {
			s.Fail(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {to + "/v2/a/blobs/x"}}})
		},
		"redirected manifest": func(s *registrytest.Server, to string) {
			s.Fail(registrytest.Fault{Method: http.MethodGet, Path: "/manifests/", Status: http.StatusFound, Header: http.Header{"Location": {to + "/v2/a/manifests/1"}}})
		},
		"redirected ping": func(s *registrytest.Server, to string) {
			s.Fail(registrytest.Fault{Path: "/v2/", Times: 1, Status: http.StatusFound, Header: http.Header{"Location": {to + "/v2/"}}})
		},
		"upload elsewhere": func(s *registrytest.Server, to string) {
			s.Fail(registrytest.Fault{Method: http.MethodPost, Path: "/blobs/uploads/", Status: http.StatusAccepted, Header: http.Header{"Location": {to + "/v2/a/blobs/uploads/x"}}})
		},
	} {
		for _, bearer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bearer %v", name, bearer), func(t *testing.T) {
				s, thief := registrytest.New(t), registrytest.New(t)
				s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
				s.Require(registrytest.Auth{User: "u", Password: canary, Bearer: bearer})
				// The thief asks for credentials, in every way.
				thief.Require(registrytest.Auth{User: "x", Password: "y", Bearer: bearer, Realm: "http://" + s.Host + "/token"})
				spoil(s, "http://"+thief.Host)
				c := client(t, registry.Options{Retries: -1, Keychain: keys{s.Host: {Username: "u", Password: canary}}})
				if img, err := c.Image(t.Context(), s.Ref("a:1"), nil); err == nil {
					_, _ = readAll(t.Context(), img.Layers[0])
				}
				_ = pusher(t, c, s.Ref("a:2")).Upload(t.Context(), newBlob(t, []byte("content")))
				if thief.Saw(canary) || thief.Saw("token-") {
					t.Errorf("the thief saw it: %v", thief.Requests())
				}
			})
		}
	}
}

// Requests go through the proxy that was given, and metadata of others is not touched.
func TestProxy(t *testing.T) {
	s, proxy := registrytest.New(t), registrytest.New(t)
	s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	proxy.Fail(registrytest.Fault{Status: http.StatusProxyAuthRequired})
	u, err := url.Parse("http://user:" + canary + "@" + proxy.Host)
	if err != nil {
		t.Fatal(err)
	}
	o := registry.Options{Retries: -1, Proxy: func(*http.Request) (*url.URL, error) { return u, nil }}
	_, err = client(t, o).Image(t.Context(), s.Ref("a:1"), nil)
	if err == nil || len(proxy.Requests()) == 0 || len(s.Requests()) > 0 || strings.Contains(err.Error(), canary) {
		t.Errorf("%v; the proxy saw %d requests, the registry %d", err, len(proxy.Requests()), len(s.Requests()))
	}
}
