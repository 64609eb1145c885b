package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// direction is which way content goes; options differ by it.
type direction int

const (
	pull direction = iota
	push
)

// plainHTTP knows which registries may be spoken to without TLS.
type plainHTTP struct {
	all   [2]bool // by direction
	hosts map[string]bool
}

func newPlainHTTP(o Options) (plainHTTP, error) {
	hosts, err := hostSet("insecure registry", o.InsecureRegistries)
	return plainHTTP{all: [2]bool{pull: o.InsecurePull, push: o.Insecure}, hosts: hosts}, err
}

func (p plainHTTP) allowed(d direction, host string) bool {
	return p.all[d] || p.hosts[host] || isLoopback(host)
}

func hostSet(what string, list []string) (map[string]bool, error) {
	set := make(map[string]bool, len(list))
	var errs []error
	for _, s := range list {
		h, err := parseHost(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			continue
		}
		set[h] = true
	}
	return set, errors.Join(errs...)
}

// tlsSettings holds what differs between registries, and one pool of
// connections for each combination in use.
type tlsSettings struct {
	skip      [2]bool // by direction
	skipHosts map[string]bool
	roots     map[string]*x509.CertPool
	certs     map[string]*tls.Certificate
	http1     bool
	proxy     func(*http.Request) (*url.URL, error)

	mu    sync.Mutex
	pools map[tlsKey]*http.Transport
}

// tlsKey is a combination: whose roots, whose client certificate, verify or not.
type tlsKey struct {
	skip         bool
	roots, certs string
}

func newTLSSettings(o Options) (*tlsSettings, error) {
	skipHosts, err := hostSet("registry without TLS verification", o.SkipTLSVerifyRegistries)
	errs := []error{err}
	s := &tlsSettings{
		// SkipTLSVerify works both ways: kaniko's users rely on it.
		skip:      [2]bool{pull: o.SkipTLSVerify || o.SkipTLSVerifyPull, push: o.SkipTLSVerify},
		skipHosts: skipHosts,
		roots:     make(map[string]*x509.CertPool),
		certs:     make(map[string]*tls.Certificate),
		http1:     o.HTTP1,
		proxy:     o.Proxy,
		pools:     make(map[tlsKey]*http.Transport),
	}
	if s.proxy == nil {
		s.proxy = http.ProxyFromEnvironment
	}
	for _, h := range slices.Sorted(maps.Keys(o.Certificates)) {
		errs = append(errs, s.addCA(h, o.Certificates[h]))
	}
	for _, h := range slices.Sorted(maps.Keys(o.ClientCerts)) {
		errs = append(errs, s.addClientCert(h, o.ClientCerts[h]))
	}
	return s, errors.Join(errs...)
}

func (s *tlsSettings) addCA(h, file string) error {
	host, err := parseHost(h)
	if err != nil {
		return fmt.Errorf("registry certificate: %w", err)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("registry certificate of %s: %w", h, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("registry certificate of %s: %s holds no certificate in PEM form", h, file)
	}
	s.roots[host] = pool
	return nil
}

func (s *tlsSettings) addClientCert(h, pair string) error {
	host, err := parseHost(h)
	if err != nil {
		return fmt.Errorf("registry client certificate: %w", err)
	}
	crt, key, ok := strings.Cut(pair, ",")
	if !ok {
		return fmt.Errorf("registry client certificate of %s: want certificate,key but got %q", h, pair)
	}
	c, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return fmt.Errorf("registry client certificate of %s: %w", h, err)
	}
	s.certs[host] = &c
	return nil
}

// pool gives the connections for talking on behalf of a registry: to itself
// (own), or to the token service and storage it sends us to. These are trusted
// by the registry's own rules, as Docker does; but only the registry itself is
// shown the client certificate.
func (s *tlsSettings) pool(d direction, host string, own bool) *http.Transport {
	k := tlsKey{skip: s.skip[d] || s.skipHosts[host]}
	if s.roots[host] != nil {
		k.roots = host
	}
	if own && s.certs[host] != nil {
		k.certs = host
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.pools[k]
	if t == nil {
		t = s.transport(k)
		s.pools[k] = t
	}
	return t
}

func (s *tlsSettings) transport(k tlsKey) *http.Transport {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots[k.roots], InsecureSkipVerify: k.skip}
	if c := s.certs[k.certs]; c != nil {
		conf.Certificates = []tls.Certificate{*c}
	}
	t := &http.Transport{
		Proxy:                 s.proxy,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   20 * time.Second,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     !s.http1,
		// A layer is compressed already, and a digest is of the bytes as sent.
		DisableCompression: true,
	}
	if s.http1 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
	}
	return t
}

func (s *tlsSettings) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.pools {
		t.CloseIdleConnections()
	}
}
