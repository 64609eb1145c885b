// Package sigstoretest is a Sigstore for tests. One is in the process: a Fulcio, a Rekor and a timestamp authority that speak
// their protocols, issuers of identity tokens, and the trusted root that vouches for all of them. Another is private, of the
// real programs.
package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// Audience is whom tokens must be for.
const Audience = "sigstore"

// Sigstore is one, on a loopback address.
type Sigstore struct {
	// URL is the address of Fulcio, of Rekor, and of the issuer.
	URL string
	// Life is how long certificates are good for.
	Life time.Duration
	// NoSCT leaves the certificate log's word out of certificates.
	NoSCT bool

	testing.TB
	fulcio *root.FulcioCertificateAuthority
	issuer *ecdsa.PrivateKey // of certificates
	ctlog  *ecdsa.PrivateKey
	tsa    *root.SigstoreTimestampingAuthority
	stamps *ecdsa.PrivateKey
	rekor  *ecdsa.PrivateKey

	mu     sync.Mutex
	tokens map[string]bool
	leaves [][]byte
	asked  map[string]int
	fail   map[string]int
}

// New starts one that ends with the test.
func New(t testing.TB) *Sigstore {
	t.Helper()
	s := &Sigstore{TB: t, Life: 10 * time.Minute, tokens: map[string]bool{}, asked: map[string]int{}, fail: map[string]int{}}
	// A log that is not new, so that entries have proofs.
	s.leaves = [][]byte{[]byte("one"), []byte("two"), []byte("three")}
	s.authorities()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/signingCert", s.certify)
	mux.HandleFunc("POST /api/v1/log/entries", s.log)
	mux.HandleFunc("POST /api/v1/timestamp", s.timestamp)
	mux.HandleFunc("GET /github", s.github)
	mux.HandleFunc("POST /jobs/{job}/oidc/tokens", s.buildkite)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		s.asked[req.URL.Path]++
		status := s.fail[req.URL.Path]
		s.mu.Unlock()
		if status != 0 {
			http.Error(w, "not today", status)
			return
		}
		mux.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

// The paths of the services.
const (
	FulcioPath    = "/api/v2/signingCert"
	RekorPath     = "/api/v1/log/entries"
	TimestampPath = "/api/v1/timestamp"
)

// Timestamps is the full address of the timestamp authority.
func (s *Sigstore) Timestamps() string { return s.URL + TimestampPath }

// Asked is how often a path was asked for.
func (s *Sigstore) Asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// Fail has a path answer with a status, 0 for the usual.
func (s *Sigstore) Fail(path string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[path] = status
}

func (s *Sigstore) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func newKey(must func(error)) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return k
}

func (s *Sigstore) authorities() {
	top, topKey, err := ca.GenerateRootCa()
	s.must(err)
	middle, middleKey, err := ca.GenerateFulcioIntermediate(top, topKey)
	s.must(err)
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	s.fulcio = &root.FulcioCertificateAuthority{
		Root: top, Intermediates: []*x509.Certificate{middle}, ValidityPeriodStart: from, ValidityPeriodEnd: until, URI: "https://fulcio.example",
	}
	s.issuer, s.ctlog, s.rekor, s.stamps = middleKey, newKey(s.must), newKey(s.must), newKey(s.must)
	stamper, stamperKey, err := ca.GenerateTSAIntermediate(top, topKey)
	s.must(err)
	leaf, err := ca.GenerateTSALeafCert(time.Now().Add(-5*time.Minute), s.stamps, stamper, stamperKey)
	s.must(err)
	s.tsa = &root.SigstoreTimestampingAuthority{
		Root: top, Intermediates: []*x509.Certificate{stamper}, Leaf: leaf, ValidityPeriodStart: from, ValidityPeriodEnd: until, URI: "https://tsa.example",
	}
}

// TrustedRoot is what to trust.
func (s *Sigstore) TrustedRoot() *root.TrustedRoot {
	logOf := func(k *ecdsa.PrivateKey, host string) map[string]*root.TransparencyLog {
		id := s.logID(k)
		return map[string]*root.TransparencyLog{hex.EncodeToString(id): {
			BaseURL: "https://" + host, ID: id, ValidityPeriodStart: time.Now().Add(-time.Hour), ValidityPeriodEnd: time.Now().Add(time.Hour),
			HashFunc: crypto.SHA256, PublicKey: k.Public(), SignatureHashFunc: crypto.SHA256,
		}}
	}
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{s.fulcio},
		logOf(s.ctlog, "ctlog.example"), []root.TimestampingAuthority{s.tsa}, logOf(s.rekor, "rekor.example"))
	s.must(err)
	return r
}

// TrustedRootFile writes it to a file.
func (s *Sigstore) TrustedRootFile(dir string) string {
	s.Helper()
	b, err := s.TrustedRoot().MarshalJSON()
	s.must(err)
	file := filepath.Join(dir, "trusted_root.json")
	s.must(os.WriteFile(file, b, 0o600))
	return file
}

func (s *Sigstore) logID(k *ecdsa.PrivateKey) []byte { return keyID(s.must, k.Public()) }

// keyID is how logs are called.
func keyID(must func(error), key crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	must(err)
	id := sha256.Sum256(der)
	return id[:]
}

// Token makes an identity token with the usual claims, changed by others.
func (s *Sigstore) Token(others map[string]any) string {
	claims := map[string]any{
		"iss": "https://issuer.example", "sub": "https://ci.example/workflow", "aud": Audience,
		"exp": time.Now().Add(5 * time.Minute).Unix(),
	}
	for k, v := range others {
		claims[k] = v
	}
	b, err := json.Marshal(claims)
	s.must(err)
	enc := base64.RawURLEncoding
	token := strings.Join([]string{enc.EncodeToString([]byte(`{"alg":"none"}`)), enc.EncodeToString(b), rand.Text()}, ".")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = true
	return token
}

func (s *Sigstore) github(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "bearer request-token" || req.URL.Query().Get("api-version") != "2.0" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	s.answer(w, http.StatusOK, map[string]string{"value": s.Token(map[string]any{"aud": req.URL.Query().Get("audience"), "sub": "https://github.example/workflow"})})
}

func (s *Sigstore) buildkite(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Audience string `json:"audience"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil || req.Header.Get("Authorization") != "Token agent-token" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	s.answer(w, http.StatusOK, map[string]string{"token": s.Token(map[string]any{"aud": body.Audience, "sub": "https://buildkite.example/" + req.PathValue("job")})})
}

func (s *Sigstore) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Error(err)
	}
}
