package registries

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/crypto/bcrypt"
)

const (
	user     = "someone"
	password = "c4n4ry-password"
)

// setting is how a registry is set up.
type setting struct {
	name        string
	tls, client bool // HTTPS, and with certificates of clients
	basic       bool // htpasswd
	token       bool // a token service
}

func settings() []setting {
	return []setting{
		{name: "plain"},
		{name: "plain, basic", basic: true},
		{name: "plain, token", token: true},
		{name: "TLS", tls: true},
		{name: "mTLS", tls: true, client: true},
		{name: "TLS, basic", tls: true, basic: true},
		{name: "mTLS, token", tls: true, client: true, token: true},
	}
}

// world is what a registry's settings are made of.
type world struct {
	ca, server, client *pair
	tokens             *tokenService
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ca := newPair(t, "CA", nil)
	w := &world{ca: ca, server: newPair(t, "registry", ca), client: newPair(t, "client", ca)}
	w.tokens = newTokenService(t, ca)
	return w
}

// startDistribution runs a registry and returns its host.
func startDistribution(t testing.TB, w *world, program string, s setting) string {
	t.Helper()
	dir, host := t.TempDir(), "127.0.0.1:"+freePort(t)
	var c strings.Builder
	fmt.Fprintf(&c, "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s/data\nhttp:\n  addr: %s\n  secret: xyz\n", dir, host)
	if s.tls {
		fmt.Fprintf(&c, "  tls:\n    certificate: %s\n    key: %s\n", w.server.crt, w.server.pem)
	}
	if s.client {
		fmt.Fprintf(&c, "    clientcas:\n      - %s\n", w.ca.crt)
	}
	if s.basic {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "htpasswd"), []byte(user+":"+string(hash)+"\n"))
		fmt.Fprintf(&c, "auth:\n  htpasswd:\n    realm: test\n    path: %s/htpasswd\n", dir)
	}
	if s.token {
		realm := w.tokens.plain
		if s.tls {
			realm = w.tokens.secure
		}
		fmt.Fprintf(&c, "auth:\n  token:\n    realm: %s/token\n    service: test\n    issuer: test\n    rootcertbundle: %s\n", realm, w.ca.crt)
	}
	write(t, filepath.Join(dir, "config.yml"), []byte(c.String()))
	run(t, exec.Command(program, "serve", filepath.Join(dir, "config.yml")), host)
	return host
}

// run starts a server, waits for it, and ends it with the test.
func run(t testing.TB, cmd *exec.Cmd, host string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.Close()
	})
	for range 300 {
		if conn, err := net.Dial("tcp", host); err == nil {
			conn.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(out.Name())
	t.Fatalf("%s does not start: %s", cmd.Path, text)
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// startGGCR runs go-containerregistry's registry, which knows no credentials.
func startGGCR(t testing.TB, w *world, s setting) string {
	t.Helper()
	h := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(h.Close)
	if !s.tls {
		h.Start()
		return h.Listener.Addr().String()
	}
	cert, err := tls.LoadX509KeyPair(w.server.crt, w.server.pem)
	if err != nil {
		t.Fatal(err)
	}
	h.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if s.client {
		pool := x509.NewCertPool()
		pool.AddCert(w.ca.cert)
		h.TLS.ClientAuth, h.TLS.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	h.EnableHTTP2 = true
	h.StartTLS()
	return h.Listener.Addr().String()
}
