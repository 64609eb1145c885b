package registry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// keys has a password for each host, or for each repository.
type keys map[string]authn.AuthConfig

func (k keys) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for _, name := range []string{r.String(), r.RegistryStr()} {
		if c, ok := k[name]; ok {
			return authn.FromConfig(c), nil
		}
	}
	return authn.Anonymous, nil
}

func TestCredentials(t *testing.T) {
	for name, a := range map[string]registrytest.Auth{
		"basic":  {User: "u", Password: "p"},
		"bearer": {User: "u", Password: "p", Bearer: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			s.Push(t, "a/b:1", registrytest.Image(t, "linux/amd64"))
			s.Require(a)
			k := keys{s.Host + "/a/b": {Username: "u", Password: "p"}}
			if _, err := client(t, registry.Options{Keychain: k}).Image(t.Context(), s.Ref("a/b:1"), nil); err != nil {
				t.Error(err)
			}
			for _, k := range []keys{{}, {s.Host: {Username: "u", Password: "wrong"}}} {
				_, err := client(t, registry.Options{Keychain: k}).Image(t.Context(), s.Ref("a/b:1"), nil)
				if !errors.Is(err, registry.ErrDenied) || !strings.Contains(err.Error(), "credentials") {
					t.Error(err)
				}
			}
		})
	}
}

func TestTokenIsRenewed(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: true})
	c := client(t, registry.Options{Keychain: keys{s.Host: {Username: "u", Password: "p"}}})
	img, err := c.Image(t.Context(), s.Ref("a:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Expire()
	read(t, img.Layers[0])

	s.Expire()
	p, err := c.Pusher(s.Ref("b:1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Forget()
	// The token ends when the blob is on its way: the body must be sent again.
	s.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/blobs/uploads/", Times: 1, Then: s.Expire})
	l := newBlob(t, []byte(strings.Repeat("content ", 1000)))
	if err := p.Upload(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if string(s.Blob("b", l.digest)) != string(l.content) {
		t.Error("another content came")
	}
	if n := s.Count(http.MethodPost, ""); n != 1 {
		t.Errorf("%d uploads begun", n)
	}
}

func TestMirrors(t *testing.T) {
	notFound, busy := registrytest.New(t), registrytest.New(t)
	good, dead := registrytest.New(t), registrytest.New(t)
	busy.Fail(registrytest.Fault{Status: http.StatusBadGateway})
	dead.Close()
	img := registrytest.Image(t, "linux/amd64")
	good.Push(t, "hub/library/app:1", img)

	var mu sync.Mutex
	var notices []string
	c := client(t, registry.Options{
		Mirrors:             []string{notFound.Host, busy.Host, dead.Host, good.Host + "/hub"},
		SkipDefaultFallback: true,
		Retries:             1,
		Notice: func(s string) {
			mu.Lock()
			defer mu.Unlock()
			notices = append(notices, s)
		},
	})
	got, err := c.Image(t.Context(), "app:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Ref != "docker.io/library/app:1" || got.Repository != good.Ref("hub/library/app") || got.Manifest.Digest != digest(t, img) {
		t.Errorf("%+v", got)
	}
	read(t, got.Layers[0])
	if len(notices) != 3 || !strings.Contains(notices[2], "going on with "+good.Host) {
		t.Errorf("notices: %q", notices)
	}
	// Nobody has it: the one that may still have it counts.
	if _, err := c.Image(t.Context(), "app:2", nil); !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "before that") {
		t.Error(err)
	}
}

// A mirror that refuses, or is not who it says, is not passed over in silence.
func TestWhatEndsTheSearch(t *testing.T) {
	for name, spoil := range map[string]func(mirror *registrytest.Server){
		"401": func(m *registrytest.Server) { m.Require(registrytest.Auth{User: "u", Password: "p"}) },
		"403": func(m *registrytest.Server) { m.Fail(registrytest.Fault{Status: http.StatusForbidden}) },
		"429": func(m *registrytest.Server) { m.Fail(registrytest.Fault{Status: http.StatusTooManyRequests}) },
		"400": func(m *registrytest.Server) { m.Fail(registrytest.Fault{Status: http.StatusBadRequest}) },
	} {
		t.Run(name, func(t *testing.T) {
			mirror, origin := registrytest.New(t), registrytest.New(t)
			origin.Push(t, "app:1", registrytest.Image(t, "linux/amd64"))
			spoil(mirror)
			c := client(t, registry.Options{Maps: []string{origin.Host + "=" + mirror.Host}})
			_, err := c.Image(t.Context(), origin.Ref("app:1"), nil)
			if err == nil || !strings.Contains(err.Error(), mirror.Host) {
				t.Errorf("%v; want an error that names %s", err, mirror.Host)
			}
			if n := len(origin.Requests()); n > 0 {
				t.Errorf("the origin was asked %d times", n)
			}
		})
	}
	t.Run("certificate", func(t *testing.T) {
		mirror, origin := registrytest.NewTLS(t), registrytest.New(t)
		c := client(t, registry.Options{Maps: []string{origin.Host + "=" + mirror.Host}})
		if _, err := c.Image(t.Context(), origin.Ref("app:1"), nil); !errors.Is(err, registry.ErrUntrusted) || len(origin.Requests()) > 0 {
			t.Errorf("%v; the origin was asked %d times", err, len(origin.Requests()))
		}
	})
}

func TestMapKeepsTheOriginsWord(t *testing.T) {
	origin, mirror := registrytest.New(t), registrytest.New(t)
	mirror.Fail(registrytest.Fault{Status: http.StatusServiceUnavailable})
	origin.Push(t, "org/app:1", registrytest.Image(t, "linux/amd64"))
	o := registry.Options{Retries: -1, Maps: []string{origin.Host + "/org=" + mirror.Host + "/x"}}
	c := client(t, o)
	img, err := c.Image(t.Context(), origin.Ref("org/app:1"), nil)
	if err != nil || img.Repository != origin.Ref("org/app") {
		t.Errorf("%v, %v", img, err)
	}
	_, err = c.Image(t.Context(), origin.Ref("org/app:2"), nil)
	if !errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrUnavailable) {
		t.Error(err)
	}
	origin.Forget()
	o.SkipDefaultFallback = true
	if _, err := client(t, o).Image(t.Context(), origin.Ref("org/app:1"), nil); !errors.Is(err, registry.ErrUnavailable) {
		t.Error(err)
	}
	if n := len(origin.Requests()); n > 0 {
		t.Errorf("the origin was asked %d times", n)
	}
}

func TestWrongContentEndsTheSearch(t *testing.T) {
	origin, mirror := registrytest.New(t), registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	origin.Push(t, "app:1", img)
	mirror.Push(t, "app:1", img)
	mirror.Fail(registrytest.Fault{Path: "/manifests/", Alter: func(b []byte) []byte { return append(b, '\n') }})
	_, err := client(t, registry.Options{Maps: []string{origin.Host + "=" + mirror.Host}}).Image(t.Context(), origin.Ref("app:1"), nil)
	if !errors.Is(err, registry.ErrIntegrity) {
		t.Error(err)
	}
}

func TestMirrorHasItsOwnCredentials(t *testing.T) {
	mirror := registrytest.New(t)
	mirror.Push(t, "library/app:1", registrytest.Image(t, "linux/amd64"))
	mirror.Require(registrytest.Auth{User: "mirror", Password: "p"})
	k := keys{"index.docker.io": {Username: "hub", Password: "secret"}, mirror.Host: {Username: "mirror", Password: "p"}}
	c := client(t, registry.Options{Keychain: k, Mirrors: []string{mirror.Host}, SkipDefaultFallback: true})
	if _, err := c.Image(t.Context(), "app:1", nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range mirror.Requests() {
		if u, _, ok := (&http.Request{Header: r.Header}).BasicAuth(); ok && u != "mirror" {
			t.Errorf("the mirror saw user %s", u)
		}
	}
}

func TestTLS(t *testing.T) {
	a, b := registrytest.NewTLS(t), registrytest.NewTLS(t)
	img := registrytest.Image(t, "linux/amd64")
	a.Push(t, "x:1", img)
	b.Push(t, "x:1", img)
	ca := a.CA(t)
	for _, tt := range []struct {
		name   string
		o      registry.Options
		aOK    bool
		bOK    bool
		pushOK bool // to b
	}{
		{"strict", registry.Options{}, false, false, false},
		{"CA of a", registry.Options{Certificates: map[string]string{a.Host: ca}}, true, false, false},
		{"skip all", registry.Options{SkipTLSVerify: true}, true, true, true},
		{"skip for pulls", registry.Options{SkipTLSVerifyPull: true}, true, true, false},
		{"skip b", registry.Options{SkipTLSVerifyRegistries: []string{b.Host}}, false, true, true},
		{"HTTP/1.1", registry.Options{SkipTLSVerify: true, HTTP1: true}, true, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, tt.o)
			_, errA := c.Image(t.Context(), a.Ref("x:1"), nil)
			_, errB := c.Image(t.Context(), b.Ref("x:1"), nil)
			p, err := c.Pusher(b.Ref("x:1"))
			if err != nil {
				t.Fatal(err)
			}
			for what, got := range map[string]struct {
				err error
				ok  bool
			}{"pull a": {errA, tt.aOK}, "pull b": {errB, tt.bOK}, "push b": {p.Check(t.Context()), tt.pushOK}} {
				if got.ok && got.err != nil || !got.ok && !errors.Is(got.err, registry.ErrUntrusted) {
					t.Errorf("%s: %v, want ok %v", what, got.err, got.ok)
				}
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	var seen sync.Map
	s := registrytest.NewTLSAt(t, "127.0.0.1", func(c *tls.Config) {
		c.ClientAuth = tls.RequestClientCert
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			seen.Store(len(cs.PeerCertificates), true)
			return nil
		}
	})
	s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
	crt, key := keyPair(t)
	for host, want := range map[string]int{s.Host: 1, "other.example": 0} {
		seen.Clear()
		c := client(t, registry.Options{SkipTLSVerify: true, ClientCerts: map[string]string{host: crt + "," + key}})
		if _, err := c.Image(t.Context(), s.Ref("x:1"), nil); err != nil {
			t.Fatal(err)
		}
		if _, ok := seen.Load(want); !ok {
			t.Errorf("certificate for %s: not %d of them shown", host, want)
		}
	}
}

func keyPair(t *testing.T) (crt, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("crt.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", kd)
}

// otherAddress is an address of this machine that is not the loopback's.
func otherAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("no address but the loopback")
	return ""
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	s := registrytest.NewAt(t, otherAddress(t))
	s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
	for _, tt := range []struct {
		name           string
		o              registry.Options
		pullOK, pushOK bool
	}{
		{"strict", registry.Options{}, false, false},
		{"pull", registry.Options{InsecurePull: true}, true, false},
		{"push", registry.Options{Insecure: true}, false, true},
		{"host", registry.Options{InsecureRegistries: []string{s.Host}}, true, true},
		{"other host", registry.Options{InsecureRegistries: []string{"other.example"}}, false, false},
	} {
		c := client(t, tt.o)
		_, err := c.Image(t.Context(), s.Ref("x:1"), nil)
		if tt.pullOK != (err == nil) || err != nil && !errors.Is(err, registry.ErrUntrusted) {
			t.Errorf("%s: pull: %v", tt.name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "--insecure-registry") {
			t.Errorf("%s: no way out in %v", tt.name, err)
		}
		p, _ := c.Pusher(s.Ref("x:1"))
		if err := p.Check(t.Context()); tt.pushOK != (err == nil) {
			t.Errorf("%s: push: %v", tt.name, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	s, storage := registrytest.New(t), registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "x:1", img)
	storage.Push(t, "x:1", img)
	s.Require(registrytest.Auth{User: "u", Password: "p"})
	k := keys{s.Host: {Username: "u", Password: "p"}}
	got, err := client(t, registry.Options{Keychain: k}).Image(t.Context(), s.Ref("x:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := got.Layers[0].Descriptor.Digest.String()
	to := func(base string) {
		s.Heal()
		s.Fail(registrytest.Fault{Path: "/blobs/", Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {base + "/v2/x/blobs/" + d}}})
	}
	to("http://" + storage.Host)
	read(t, got.Layers[0])
	for _, r := range storage.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Error("the password went to the storage")
		}
	}
	to("file://")
	if _, err := readAll(t.Context(), got.Layers[0]); err == nil {
		t.Error("followed to a file")
	}
}

func TestRedirectFromTLSToPlain(t *testing.T) {
	address := otherAddress(t)
	s, storage := registrytest.NewTLSAt(t, address, func(*tls.Config) {}), registrytest.NewAt(t, address)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "x:1", img)
	got, err := client(t, registry.Options{SkipTLSVerify: true}).Image(t.Context(), s.Ref("x:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Fail(registrytest.Fault{Path: "/blobs/", Status: http.StatusFound, Header: http.Header{"Location": {"http://" + storage.Host + "/"}}})
	if _, err := readAll(t.Context(), got.Layers[0]); !errors.Is(err, registry.ErrUntrusted) {
		t.Error(err)
	}
	if n := len(storage.Requests()); n > 0 {
		t.Errorf("%d requests to the storage", n)
	}
}

func TestMayLead(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"https://r.io/v2/", "https://cdn.example/x", true},
		{"https://r.io/v2/", "https://r.io:8443/x", true},
		{"https://r.io/v2/", "https://169.254.169.254/latest", false},
		{"https://r.io/v2/", "https://127.0.0.1/", false},
		{"https://r.io/v2/", "https://[::1]:80/", false},
		{"https://r.io/v2/", "https://[::ffff:10.0.0.1]/", false},
		{"https://r.io/v2/", "https://0.0.0.0/", false},
		{"https://r.io/v2/", "file:///etc/passwd", false},
		{"https://10.0.0.1/v2/", "https://10.0.0.1:9000/", true},
		{"https://10.0.0.1/v2/", "https://10.0.0.2/", true},
	} {
		if err := registry.MayLead(tt.from, tt.to); (err == nil) != tt.ok {
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
	s.Server().Config.Handler = func(next http.Handler) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			w.Header().Add("Warning", `299 - "going away soon"`)
			w.Header().Add("Warning", `199 - "not for you"`)
			next.ServeHTTP(w, req)
		}
	}(s.Server().Config.Handler)
	var notices []string
	c := client(t, registry.Options{Notice: func(l string) { notices = append(notices, l) }})
	if _, err := c.Image(t.Context(), s.Ref("x:1"), nil); err != nil {
		t.Fatal(err)
	}
	if len(notices) != 1 || notices[0] != s.Host+": going away soon" {
		t.Errorf("%q", notices)
	}
}

func TestConnectionsAreShared(t *testing.T) {
	s := registrytest.NewTLS(t)
	var conns sync.Map
	s.Server().Config.ConnState = func(c net.Conn, st http.ConnState) {
		if st == http.StateActive {
			conns.Store(c.RemoteAddr().String(), true)
		}
	}
	s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
	s.Push(t, "y:1", registrytest.Image(t, "linux/amd64"))
	c := client(t, registry.Options{SkipTLSVerify: true})
	for _, ref := range []string{"x:1", "y:1"} {
		img, err := c.Image(t.Context(), s.Ref(ref), nil)
		if err != nil {
			t.Fatal(err)
		}
		read(t, img.Layers[0])
		p, _ := c.Pusher(s.Ref("z:1"))
		if err := p.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	conns.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d connections for one thing after the other", n)
	}
}
