// Package registry resolves, pulls from and pushes to OCI registries: maps, mirrors, credentials, TLS, retries.
//
// It speaks the OCI distribution specification over
// go-containerregistry's authenticated transports. Whatever it hands out has
// been compared with its digest; whatever can be asked again after a fault is.
package registry

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Options says how registries are reached. The zero value verifies TLS, speaks
// plain HTTP to this machine only, and has no credentials.
//
// Hosts are written as in references: "host" or "host:port"; docker.io and
// index.docker.io are the same.
type Options struct {
	Insecure           bool     // plain HTTP is good enough for pushing
	InsecurePull       bool     // and for pulling
	InsecureRegistries []string // and for these hosts, both ways

	SkipTLSVerify           bool     // take any certificate, pushing and pulling
	SkipTLSVerifyPull       bool     // take any certificate, pulling
	SkipTLSVerifyRegistries []string // take any certificate of these hosts, both ways

	// Mirrors are asked before docker.io, in this order: "host[/prefix]".
	Mirrors []string
	// Maps say where else to look: "source=destination[;source=destination]".
	// Both sides are a host, or a host and the beginning of a path; the rest of
	// the path is kept. The longest source that matches counts; several entries
	// of that source are asked in order, then Mirrors, then the origin.
	Maps []string
	// SkipDefaultFallback never asks the origin once a map or a mirror applies.
	SkipDefaultFallback bool

	// Certificates are CA certificates (PEM files) by host. They are trusted,
	// besides the system's, for that registry and for the token service and
	// storage it refers to, and for no other registry.
	Certificates map[string]string
	// ClientCerts are "certificate,key" (PEM files) by host, shown to that host only.
	ClientCerts map[string]string

	// Keychain has the credentials; nil means there are none. It is asked for the
	// repository that is really contacted, never for the origin of a mirror.
	// Authenticators with a method Origin() string say where a credential was
	// found, for errors.
	Keychain authn.Keychain
	// TokenServices are hosts, by registry, that may have the registry's
	// credential in exchange for a token, besides those of the registry's own
	// domain.
	TokenServices map[string]string

	// Proxy chooses the proxy for a request; nil means http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)

	UserAgent string
	// HTTP1 keeps to HTTP/1.1, which some registries and proxies serve faster.
	HTTP1 bool
	// Retries is how often a request that may be repeated is repeated after a
	// fault that may pass. 0 means DefaultRetries, less than 0 means never.
	Retries int
	// LayerRetries is how many times more the download of a layer may break off
	// without getting on. A download always goes on where it was.
	LayerRetries int
	// Notice is told, in a line, what went another way than planned: a mirror
	// passed over, a warning of a registry. It may be called from several
	// goroutines; nil means nobody listens.
	Notice func(line string)
}

// DefaultRetries is how often a request is repeated when Options does not say.
const DefaultRetries = 3

// Client talks to registries. It is safe for concurrent use and keeps its
// connections, tokens and answers for as long as it lives.
type Client struct {
	keychain  authn.Keychain
	userAgent string
	notice    func(string)

	routes routes
	tls    *tlsSettings
	plain  plainHTTP
	retry  *retrier
	layer  int           // Options.LayerRetries
	stall  time.Duration // how long a download may give no byte before it is asked again

	realms realms

	sessions memo[sessionKey, *session]
	pings    memo[pingKey, *transport.Challenge]
	roots    memo[string, *found]
	images   memo[imageKey, *Image]
	uploads  memo[blobKey, struct{}]
	sending  turns
	seen     seenBlobs
	warned   memo[string, struct{}]
}

type blobKey struct {
	at     place
	digest v1.Hash
}

// New makes a client. It reads the certificates and reports everything wrong with o at once.
func New(o Options) (*Client, error) {
	c := &Client{
		keychain:  o.Keychain,
		userAgent: o.UserAgent,
		notice:    o.Notice,
		retry:     newRetrier(o.Retries),
		layer:     max(o.LayerRetries, 0),
		stall:     time.Minute,
	}
	if c.keychain == nil {
		c.keychain = authn.NewMultiKeychain()
	}
	if c.notice == nil {
		c.notice = func(string) {}
	}
	var errs [4]error
	c.routes, errs[0] = newRoutes(o.Maps, o.Mirrors, o.SkipDefaultFallback)
	c.plain, errs[1] = newPlainHTTP(o)
	c.tls, errs[2] = newTLSSettings(o)
	c.realms, errs[3] = newRealms(o.TokenServices)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return c, nil
}

// Close gives up idle connections. Using the client afterwards opens new ones.
func (c *Client) Close() { c.tls.close() }
