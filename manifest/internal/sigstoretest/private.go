package sigstoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// What tokens of a Private say.
const (
	// Workflow is the identity in the certificates.
	Workflow = "https://github.com/" + workflowRef
	// Repository is whose workflow it is.
	Repository = "acme/app"

	workflowRef = Repository + "/.github/workflows/release.yml@refs/heads/main"
	// tilesHost is what the second Rekor calls itself.
	tilesHost = "tiles.example"
)

// Private is a Sigstore of the real programs on loopback addresses: Fulcio with a log of certificates, Rekor in both
// versions, a timestamp authority, and the issuer of a workflow's tokens.
type Private struct {
	// The addresses of the services; Timestamps is a full one.
	Issuer, Fulcio, Rekor, RekorTiles, Timestamps string

	testing.TB
	issuer   *rsa.PrivateKey
	ct       *ecdsa.PrivateKey
	tiles    ed25519.PrivateKey
	programs string
	stop     []func()
}

// NewPrivate starts one that ends with the test, or skips the test where the programs are not there.
func NewPrivate(t testing.TB) *Private {
	t.Helper()
	p := &Private{TB: t, programs: programs(t)}
	var err error
	p.ct = newKey(p.must)
	p.issuer, err = rsa.GenerateKey(rand.Reader, 2048)
	p.must(err)
	_, p.tiles, err = ed25519.GenerateKey(rand.Reader)
	p.must(err)
	dir := t.TempDir()
	p.issue()
	ports := free(t, 10)
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	port := func(i int) string { return strconv.Itoa(ports[i]) }

	config := filepath.Join(dir, "fulcio.yaml")
	p.write(config, fmt.Appendf(nil, "oidc-issuers:\n  %[1]s:\n    issuer-url: %[1]s\n    client-id: %[2]s\n    type: github-workflow\n", p.Issuer, Audience))
	p.Fulcio = "http://" + at(0)
	p.start("fulcio", "serve", "--ca", "ephemeralca", "--config-path", config, "--host", "127.0.0.1", "--port", port(0), "--grpc-host", "127.0.0.1", "--grpc-port", port(1),
		"--metrics-port", port(2), "--legacy-unix-domain-socket", filepath.Join(dir, "socket"), "--ct-log-url", "http://"+at(3)+"/ct")

	roots, key := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "ct.der")
	var authorities []byte
	for _, c := range p.authorities() {
		authorities = append(authorities, p.pem(c)...)
	}
	p.write(roots, authorities)
	der, err := x509.MarshalECPrivateKey(p.ct)
	p.must(err)
	p.write(key, der)
	p.Timestamps = "http://" + at(5) + TimestampPath
	p.start("sigstore", "-trillian", at(4), "-ct", at(3), "-ct-roots", roots, "-ct-key", key, "-timestamp-port", port(5))
	p.get(p.Timestamps + "/certchain")

	p.Rekor = "http://" + at(6)
	p.start("rekor-server", "serve", "--trillian_log_server.address", "127.0.0.1", "--trillian_log_server.port", port(4), "--rekor_server.address", "127.0.0.1", "--port", port(6),
		"--rekor_server.hostname", "rekor.example", "--enable_retrieve_api=false", "--enabled_api_endpoints", "createLogEntry,getLogEntryByUUID,getLogEntryByIndex,getPublicKey,getLogInfo,getLogProof", "--rekor_server.signer", "memory")

	signer := filepath.Join(dir, "tiles.pem")
	der, err = x509.MarshalPKCS8PrivateKey(p.tiles)
	p.must(err)
	p.write(signer, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	p.RekorTiles = "http://" + at(7)
	p.start("rekor-tiles", "serve", "--http-port", port(7), "--grpc-port", port(8), "--http-metrics-port", port(9), "--hostname", tilesHost,
		"--storage-dir", filepath.Join(dir, "tiles"), "--signer-filepath", signer, "--checkpoint-interval", "100ms", "--batch-max-age", "10ms")
	p.get(p.Rekor + "/api/v1/log/publicKey")
	p.get(p.RekorTiles + "/healthz")
	return p
}

// programs is where scripts/sigstore has put them; the newest, where there are several.
func programs(t testing.TB) (dir string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	all, _ := filepath.Glob(filepath.Join(cache, "strake", "sigstore-*", "sigstore"))
	var newest time.Time
	for _, f := range all {
		if i, err := os.Stat(f); err == nil && i.ModTime().After(newest) {
			newest, dir = i.ModTime(), filepath.Dir(f)
		}
	}
	if dir == "" {
		t.Skip("fulcio and rekor are not compiled: scripts/sigstore install")
	}
	return dir
}

// free finds ports that nobody listens on.
func free(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are different
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// start runs a program until the test ends; what it says is shown if the test fails.
func (p *Private) start(name string, args ...string) {
	p.Helper()
	cmd := exec.Command(filepath.Join(p.programs, name), args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(os.Environ(), "HOME="+p.TempDir())
	p.must(cmd.Start())
	end := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p.stop = append(p.stop, end)
	p.Cleanup(func() {
		if end(); p.Failed() {
			p.Logf("%s says:\n%s", name, said.String())
		}
	})
}

// Stop ends all services.
func (p *Private) Stop() {
	for _, end := range p.stop {
		end()
	}
}

// get asks until there is an answer.
func (p *Private) get(url string) []byte {
	p.Helper()
	var last any
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url)
		if err != nil {
			last = err
			continue
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK {
			return b.Bytes()
		}
		last = resp.Status
	}
	p.Fatalf("%s: %v", url, last)
	return nil
}

// issue starts the issuer of tokens: what it says of itself, and its key.
func (p *Private) issue() {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	p.Cleanup(srv.Close)
	p.stop = append(p.stop, srv.Close)
	p.Issuer = srv.URL
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", answer(map[string]any{
		"issuer": srv.URL, "jwks_uri": srv.URL + "/keys", "authorization_endpoint": srv.URL + "/none", "token_endpoint": srv.URL + "/none",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	}))
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	mux.HandleFunc("GET /keys", answer(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": number(p.issuer.N), "e": number(big.NewInt(int64(p.issuer.E))),
	}}}))
}

// Token is one for a job of the workflow, as GitHub makes them.
func (p *Private) Token() string {
	claims := map[string]any{
		"iss": p.Issuer, "aud": Audience, "sub": "repo:" + Repository + ":ref:refs/heads/main", "iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
		"job_workflow_ref": workflowRef, "workflow_ref": workflowRef, "repository": Repository, "ref": "refs/heads/main", "event_name": "push", "workflow": "release",
		"repository_owner": "acme", "repository_id": "1", "repository_owner_id": "2", "repository_visibility": "public", "run_id": "3", "run_attempt": "1",
		"runner_environment": "self-hosted", "sha": commit, "job_workflow_sha": commit, "workflow_sha": commit,
	}
	text, err := json.Marshal(claims)
	p.must(err)
	enc := base64.RawURLEncoding
	said := enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT","kid":"1"}`)) + "." + enc.EncodeToString(text)
	digest := sha256.Sum256([]byte(said))
	sig, err := rsa.SignPKCS1v15(rand.Reader, p.issuer, crypto.SHA256, digest[:])
	p.must(err)
	return said + "." + enc.EncodeToString(sig)
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// authorities are Fulcio's, the root last.
func (p *Private) authorities() (all []*x509.Certificate) {
	var bundle struct {
		Chains []struct {
			Certificates []string `json:"certificates"`
		} `json:"chains"`
	}
	p.must(json.Unmarshal(p.get(p.Fulcio+"/api/v2/trustBundle"), &bundle))
	for _, text := range bundle.Chains[0].Certificates {
		c, err := cryptoutils.UnmarshalCertificatesFromPEM([]byte(text))
		p.must(err)
		all = append(all, c...)
	}
	return all
}

// TrustedRoot is what to trust: what the services say of themselves.
func (p *Private) TrustedRoot() *root.TrustedRoot {
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	log := func(base string, id []byte, key crypto.PublicKey) map[string]*root.TransparencyLog {
		return map[string]*root.TransparencyLog{hex.EncodeToString(id): {
			BaseURL: base, ID: id, ValidityPeriodStart: from, ValidityPeriodEnd: until, HashFunc: crypto.SHA256, PublicKey: key, SignatureHashFunc: crypto.SHA256,
		}}
	}
	rekor, err := cryptoutils.UnmarshalPEMToPublicKey(p.get(p.Rekor + "/api/v1/log/publicKey"))
	p.must(err)
	logs := log("https://rekor.example", keyID(p.must, rekor), rekor)
	_, id, err := note.KeyHash(tilesHost, p.tiles.Public())
	p.must(err)
	for k, v := range log("https://"+tilesHost, id, p.tiles.Public()) {
		logs[k] = v
	}
	chain := p.authorities()
	last := len(chain) - 1
	stamps, err := cryptoutils.UnmarshalCertificatesFromPEM(p.get(p.Timestamps + "/certchain"))
	p.must(err)
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: chain[last], Intermediates: chain[:last], ValidityPeriodStart: from, ValidityPeriodEnd: until, URI: "https://fulcio.example",
		}},
		log("https://ct.example", keyID(p.must, p.ct.Public()), p.ct.Public()),
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Leaf: stamps[0], Intermediates: stamps[1 : len(stamps)-1], Root: stamps[len(stamps)-1], ValidityPeriodStart: from, ValidityPeriodEnd: until, URI: "https://tsa.example",
		}}, logs)
	p.must(err)
	return r
}

// SigningConfigFile writes which services are to be used, with Rekor in one of its versions.
func (p *Private) SigningConfigFile(dir string, version uint32) string {
	p.Helper()
	service := func(url string, version uint32) root.Service {
		return root.Service{URL: url, MajorAPIVersion: version, ValidityPeriodStart: time.Now().Add(-time.Hour), Operator: "acme"}
	}
	rekor := p.Rekor
	if version > 1 {
		rekor = p.RekorTiles
	}
	one := root.ServiceConfiguration{Selector: prototrustroot.ServiceSelector_ANY}
	c, err := root.NewSigningConfig(root.SigningConfigMediaType02, []root.Service{service(p.Fulcio, 1)}, []root.Service{service(p.Issuer, 1)},
		[]root.Service{service(rekor, version)}, one, []root.Service{service(p.Timestamps, 1)}, one)
	p.must(err)
	b, err := c.MarshalJSON()
	p.must(err)
	file := filepath.Join(dir, fmt.Sprintf("signing_config_%d.json", version))
	p.write(file, b)
	return file
}

// TrustedRootFile writes the trusted root to a file.
func (p *Private) TrustedRootFile(dir string) string {
	p.Helper()
	b, err := p.TrustedRoot().MarshalJSON()
	p.must(err)
	file := filepath.Join(dir, "trusted_root.json")
	p.write(file, b)
	return file
}

// Variables are what cosign reads without a trusted root: files with the authorities and the keys of the logs.
func (p *Private) Variables(dir string) []string {
	p.Helper()
	file := func(variable, name string, b []byte) string {
		p.write(filepath.Join(dir, name), b)
		return variable + "=" + filepath.Join(dir, name)
	}
	ct, err := cryptoutils.MarshalPublicKeyToPEM(p.ct.Public())
	p.must(err)
	var authorities []byte
	for _, c := range p.authorities() {
		authorities = append(authorities, p.pem(c)...)
	}
	return []string{
		file("SIGSTORE_ROOT_FILE", "fulcio.pem", authorities),
		file("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "ct.pem", ct),
		file("SIGSTORE_REKOR_PUBLIC_KEY", "rekor.pem", p.get(p.Rekor+"/api/v1/log/publicKey")),
		file("SIGSTORE_TSA_CERTIFICATE_FILE", "tsa.pem", p.get(p.Timestamps+"/certchain")),
	}
}

func (p *Private) write(file string, b []byte) {
	p.Helper()
	p.must(os.WriteFile(file, b, 0o600))
}

func (p *Private) pem(c *x509.Certificate) []byte {
	b, err := cryptoutils.MarshalCertificateToPEM(c)
	p.must(err)
	return b
}

func (p *Private) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}
