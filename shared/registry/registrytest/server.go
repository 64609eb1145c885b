// Package registrytest is a registry in the process, for tests: faults, credentials and a log of requests included.
package registrytest

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Server is a registry on the loopback address. Unlike go-containerregistry's,
// it keeps blobs by repository and knows mounts.
type Server struct {
	// Host is the address as references name it. A client's zero options speak
	// plain HTTP to it, as it is this machine's.
	Host string

	http  *httptest.Server
	inner http.Handler
	blobs *blobs
	up    *uploads

	mu     sync.Mutex
	faults []*fault
	log    []Request
	auth   *Auth
	tokens map[string][]string // token to scopes
}

// Request is a request that the server got.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Body                string // of small ones that are no part of a blob
}

// New starts a registry that speaks plain HTTP and ends with the test.
func New(t testing.TB) *Server { return NewAt(t, "127.0.0.1") }

// NewAt is New at another address of this machine.
func NewAt(t testing.TB, address string) *Server {
	t.Helper()
	return start(t, address, (*httptest.Server).Start)
}

// NewTLS starts a registry that speaks HTTPS, with a certificate for 127.0.0.1
// that nobody trusts; CA gives it.
func NewTLS(t testing.TB) *Server { return NewTLSAt(t, "127.0.0.1", func(*tls.Config) {}) }

// NewTLSAt is NewTLS at another address of this machine, with changes to the
// server's settings.
func NewTLSAt(t testing.TB, address string, change func(*tls.Config)) *Server {
	t.Helper()
	return start(t, address, func(h *httptest.Server) {
		h.EnableHTTP2 = true
		h.TLS = new(tls.Config)
		change(h.TLS)
		h.StartTLS()
	})
}

func start(t testing.TB, address string, run func(*httptest.Server)) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{blobs: newBlobs(), up: &uploads{m: make(map[string][]byte)}, tokens: make(map[string][]string)}
	s.inner = registry.New(
		registry.WithReferrersSupport(true),
		registry.WithBlobHandler(s.blobs),
		registry.Logger(log.New(io.Discard, "", 0)),
	)
	s.http = &httptest.Server{Listener: listener, Config: &http.Server{
		Handler:  http.HandlerFunc(s.serve),
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	run(s.http)
	s.Host = s.http.Listener.Addr().String()
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// Close ends the server before the test ends, to see how one goes on without it.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// CA writes the certificate of a server made by NewTLS to a file.
func (s *Server) CA(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Server gives the HTTP server, for settings that are rarely needed.
func (s *Server) Server() *httptest.Server { return s.http }

// Ref names something in this registry: "repo:tag" becomes "host/repo:tag".
func (s *Server) Ref(name string) string { return s.Host + "/" + name }

// Push puts an image or index into the registry, past faults, credentials and
// log, and returns its digest. The name is without the host: "repo:tag".
func (s *Server) Push(t testing.TB, ref string, img remote.Taggable) v1.Hash {
	t.Helper()
	r, err := name.ParseReference(s.Ref(ref), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(r, img, remote.WithTransport(direct{s})); err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(r, remote.WithTransport(direct{s}))
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

// Image reads back what was pushed, past faults, credentials and log.
func (s *Server) Image(t testing.TB, ref string) v1.Image {
	t.Helper()
	r, err := name.ParseReference(s.Ref(ref), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(r, remote.WithTransport(direct{s}))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// PutManifest stores a document as it is, under "repo:tag".
func (s *Server) PutManifest(t testing.TB, ref, mediaType string, raw []byte) {
	t.Helper()
	repo, tag, _ := strings.Cut(ref, ":")
	req := httptest.NewRequest(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, strings.NewReader(string(raw)))
	req.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	s.inner.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		t.Fatalf("put manifest %s: %d %s", ref, w.Code, w.Body)
	}
}

// Transport goes to the registry itself, past faults, credentials and log.
func (s *Server) Transport() http.RoundTripper { return direct{s} }

// direct is a transport to the registry itself, past everything around it.
type direct struct{ s *Server }

func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil {
		req.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	in := req.Clone(req.Context())
	// The server's side of a request has no host in its URL.
	in.URL.Host, in.URL.Scheme, in.RequestURI = "", "", in.URL.RequestURI()
	d.s.blobs.serve(w, in, d.s.inner)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

// Requests gives what the server was asked so far, or since Forget.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// Forget empties the log.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// Count is how many requests had this method ("" for any) and this in their path.
func (s *Server) Count(method, path string) int {
	n := 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && strings.Contains(r.Path, path) {
			n++
		}
	}
	return n
}

// Saw tells whether a text came in any request: its address, its headers (those
// of basic authentication taken apart), or its body.
func (s *Server) Saw(text string) bool {
	for _, r := range s.Requests() {
		user, password, _ := (&http.Request{Header: r.Header}).BasicAuth()
		var b strings.Builder
		_ = r.Header.Write(&b)
		if strings.Contains(strings.Join([]string{r.Path, r.Query, r.Body, user, password, b.String()}, "\n"), text) {
			return true
		}
	}
	return false
}

// smallBody reads a body that is no blob's, and puts it back.
func smallBody(req *http.Request) string {
	if req.ContentLength <= 0 || req.ContentLength > 64<<10 || strings.Contains(req.URL.Path, "/blobs/") {
		return ""
	}
	b, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}

func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	body := smallBody(req)
	s.mu.Lock()
	s.log = append(s.log, Request{req.Method, req.URL.Path, req.URL.RawQuery, req.Header.Clone(), body})
	f := s.match(req)
	s.mu.Unlock()
	if f != nil && f.before(w, req) {
		return
	}
	if !s.admit(w, req) {
		return
	}
	next := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { s.blobs.serve(w, req, http.HandlerFunc(s.rest)) })
	if f != nil && f.changes() {
		f.around(w, req, next)
		return
	}
	next(w, req)
}

// rest answers all but mounts.
func (s *Server) rest(w http.ResponseWriter, req *http.Request) {
	if !s.up.serve(w, req, s.blobs) {
		s.inner.ServeHTTP(w, req)
	}
}
