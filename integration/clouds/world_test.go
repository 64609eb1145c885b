package clouds

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is the internet as the executor sees it: every name is reached through a proxy that leads to a server here, whose
// certificates are of an authority of its own.
type world struct {
	*testing.T
	executor string
	proxy    string
	ca       string // a file
	dir      string // of archives

	mu    *sync.Mutex
	hosts map[string]http.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, executor: inside(t), mu: &sync.Mutex{}, hosts: map[string]http.Handler{}, dir: t.TempDir()}
	w.ip("link", "set", "lo", "up")
	certify := w.authority()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		h := w.hosts[r.Host]
		w.mu.Unlock()
		if h == nil {
			http.Error(rw, "nobody is called "+r.Host, http.StatusBadGateway)
			return
		}
		h.ServeHTTP(rw, r)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.TLS = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return certify(h.ServerName) }}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			t.Errorf("%s %s was asked through the proxy", r.Method, r.URL)
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		tunnel(rw, secure.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	w.proxy = proxy.URL
	return w
}

// tunnel connects a client of the proxy with an address.
func tunnel(rw http.ResponseWriter, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		rw.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(to, buffered)
		_ = to.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(from, to)
}

func (w *world) ip(args ...string) {
	w.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// authority makes a CA, and returns what makes certificates of it.
func (w *world) authority() func(name string) (*tls.Certificate, error) {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the authority of this world"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	w.ca = w.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return func(name string) (*tls.Certificate, error) {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), key)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
}

// named has a name in the world answered by h.
func (w *world) named(name string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[name] = h
}

// link serves at a link-local address, as clouds serve machines, while the test runs.
func (w *world) link(address string, h http.Handler) {
	w.Helper()
	w.ip("addr", "replace", address+"/32", "dev", "lo")
	l, err := net.Listen("tcp", address+":80")
	if err != nil {
		w.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	w.Cleanup(func() {
		_ = s.Close()
		w.ip("addr", "del", address+"/32", "dev", "lo")
	})
}

// local serves at an address of this machine's, which it returns.
func (w *world) local(h http.Handler) string {
	s := httptest.NewServer(h)
	w.Cleanup(s.Close)
	return s.URL
}

func (w *world) file(name, text string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// run runs the executor with this environment and no more.
func (w *world) run(env []string, args ...string) (int, string) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.executor, append(args, "--kaniko-dir", filepath.Join(w.dir, "state"), "--log-format", "text")...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.TempDir(), "HTTPS_PROXY=" + w.proxy, "HTTP_PROXY=" + w.proxy, "SSL_CERT_FILE=" + w.ca}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		w.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// project is a context in a directory.
func (w *world) project() string {
	w.Helper()
	dir := w.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY . /all/\n"), 0o644); err != nil {
		w.Fatal(err)
	}
	return dir
}

// archive is a context.
func (w *world) archive() []byte {
	w.Helper()
	out, err := exec.Command("tar", "czf", "-", "-C", w.project(), ".").Output()
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// behind passes requests on to a server, after they have been looked at. Check answers those that it refuses, and says so.
func behind(address string, check func(rw http.ResponseWriter, r *http.Request) bool) http.Handler {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // of a test
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	pass.ErrorLog = log.New(io.Discard, "", 0)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if check(rw, r) {
			pass.ServeHTTP(rw, r)
		}
	})
}

// bearer wants a token, and takes it from the request.
func bearer(token string) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		ok := r.Header.Get("Authorization") == "Bearer "+token
		r.Header.Del("Authorization")
		if !ok {
			rw.WriteHeader(http.StatusForbidden)
		}
		return ok
	}
}

// identity is a way in which a machine or pod comes by an identity.
type identity struct {
	name string
	// prepare plays the cloud's part, and returns the variables that the cloud sets.
	prepare func(w *world) []string
	// contextOnly leaves the push out, pushOnly the context.
	contextOnly, pushOnly bool
}

// try builds from a context and pushes to a registry under each identity, and under none.
func (w *world) try(identities []identity, ref, destination string, env []string) {
	w.Helper()
	args := []string{"--context", ref, "--destination", destination}
	for _, id := range identities {
		w.Run(id.name, func(t *testing.T) {
			part := w.with(t)
			args := args
			if id.contextOnly {
				args = []string{"--context", ref, "--no-push"}
			}
			if id.pushOnly {
				args = []string{"--context", part.project(), "--destination", destination}
			}
			code, text := part.run(append(id.prepare(part), env...), args...)
			if code != 0 {
				t.Errorf("exit code %d\n%s", code, text)
			}
			for _, no := range canaries {
				if strings.Contains(text, no) {
					t.Errorf("the log has the secret %q\n%s", no, text)
				}
			}
		})
	}
	w.Run("none", func(t *testing.T) {
		if code, text := w.with(t).run(env, args...); code != 77 || !strings.Contains(text, "there are no credentials") && !strings.Contains(text, "denied") {
			t.Errorf("exit code %d, want 77\n%s", code, text)
		}
	})
}

// with is the world for a part of the test.
func (w *world) with(t *testing.T) *world {
	return &world{T: t, executor: w.executor, proxy: w.proxy, ca: w.ca, dir: t.TempDir(), mu: w.mu, hosts: w.hosts}
}

// canaries are the secrets of this world.
var canaries = []string{"c4n4ry-secret", "c4n4ry-session", "c4n4ry-token", "c4n4ry-password"}

// put sends an object to a store.
func (w *world) put(address string, body []byte, header http.Header) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPut, address, bytes.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		text, _ := io.ReadAll(resp.Body)
		w.Fatalf("PUT %s: %s\n%s", address, resp.Status, text)
	}
}
