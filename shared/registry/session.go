package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// session is the right to pull from or push to one repository: the scheme
// that works, credentials, a token that is renewed when it expires.
type session struct {
	c      *Client
	at     place
	repo   name.Repository
	rt     http.RoundTripper
	client *http.Client
	origin string // where the credential was found; "" for nobody's
}

type sessionKey struct {
	dir  direction
	at   place
	from string // another repository to pull from, for mounts
}

// session opens, or finds, the session for a repository.
func (c *Client) session(ctx context.Context, k sessionKey) (*session, error) {
	return c.sessions.do(ctx, k, func() (*session, error) { return c.open(ctx, k) })
}

func (c *Client) open(ctx context.Context, k sessionKey) (*session, error) {
	plain := c.plain.allowed(k.dir, k.at.host)
	var opts []name.Option
	if plain {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(k.at.host, opts...)
	if err != nil {
		return nil, fmt.Errorf("registry %q: %w", k.at.host, err)
	}
	repo := reg.Repo(k.at.path)
	auth, err := authn.Resolve(ctx, c.keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("find credentials for %s: %w", k.at, err)
	}
	way := &way{
		host: k.at.host, plain: plain, warn: c.warn,
		own:    c.tls.pool(k.dir, k.at.host, true),
		others: c.tls.pool(k.dir, k.at.host, false),
	}
	rt := transport.NewUserAgent(c.retry.over(way), c.userAgent)
	// What a registry says about logins is the same for all its repositories.
	said, err := c.pings.do(ctx, pingKey{k.dir, k.at.host}, func() (*transport.Challenge, error) { return transport.Ping(ctx, reg, rt) })
	if err != nil {
		return nil, err
	}
	l := &login{next: rt, reg: reg, scheme: "https", auth: auth, realms: c.realms, scopes: scopes(k, repo)}
	if said.Insecure {
		l.scheme = "http"
	}
	if strings.EqualFold(said.Scheme, "bearer") {
		l.challenge = said
	}
	if _, err := l.current(ctx); err != nil {
		return nil, withOrigin(err, originOf(auth))
	}
	client := &http.Client{Transport: l, CheckRedirect: checkRedirect}
	return &session{c: c, at: k.at, repo: repo, rt: l, client: client, origin: originOf(auth)}, nil
}

type pingKey struct {
	dir  direction
	host string
}

// originOf says where a credential was found, for keychains that tell.
func originOf(a authn.Authenticator) string {
	if a == authn.Anonymous {
		return ""
	}
	if o, ok := a.(interface{ Origin() string }); ok {
		return o.Origin()
	}
	return "the keychain"
}

func scopes(k sessionKey, repo name.Repository) []string {
	s := []string{repo.Scope(transport.PullScope)}
	if k.dir == push {
		s[0] = repo.Scope(transport.PushScope)
	}
	if k.from != "" {
		s = append(s, repo.Registry.Repo(k.from).Scope(transport.PullScope))
	}
	return s
}

// url is an address below /v2/ of the repository. The session's transport
// corrects the scheme.
func (s *session) url(parts ...string) *url.URL {
	return &url.URL{
		Scheme: s.repo.Scheme(), Host: s.at.host,
		Path: "/v2/" + s.at.path + "/" + strings.Join(parts, "/"),
	}
}

// do sends a request without a body and returns an answer with one of the
// wanted status codes; anything else is an error.
func (s *session) do(ctx context.Context, method string, u *url.URL, header http.Header, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	return s.send(req, want...)
}

func (s *session) send(req *http.Request, want ...int) (*http.Response, error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if slices.Contains(want, resp.StatusCode) {
		return resp, nil
	}
	defer discard(resp.Body)
	return resp, s.refused(transport.CheckError(resp, want...))
}

// refused notes on a refusal whose credential was refused.
func (s *session) refused(err error) error { return withOrigin(err, s.origin) }

func withOrigin(err error, origin string) error {
	te, ok := errors.AsType[*transport.Error](err)
	if !ok || te.StatusCode != http.StatusUnauthorized && te.StatusCode != http.StatusForbidden {
		return err
	}
	return &deniedError{err, origin}
}

// way is how a registry is reached. It holds the rules that no header, no
// redirect and no token service can talk us out of.
type way struct {
	host        string
	plain       bool
	own, others http.RoundTripper
	warn        func(host, header string)
}

func (w *way) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !w.plain {
		return nil, fmt.Errorf("%s %s: %w", req.Method, req.URL.Host, errPlain)
	}
	pool := w.others
	if req.URL.Host == w.host {
		pool = w.own
	}
	resp, err := pool.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		resp.Body = &limitedBody{io.LimitReader(resp.Body, longestExcuse), resp.Body}
	}
	for _, h := range resp.Header.Values("Warning") {
		w.warn(req.URL.Host, h)
	}
	return resp, nil
}

// longestExcuse is how much of an error's body is read; go-containerregistry
// would forget the status of a longer one.
const longestExcuse = 32 << 10

type limitedBody struct {
	io.Reader
	io.Closer
}

// warn passes a registry's warning on, each once (distribution specification, "Warnings").
func (c *Client) warn(host, header string) {
	text, ok := strings.CutPrefix(header, `299 - "`)
	if !ok || len(text) > 4096 {
		return
	}
	line := clip(familiarHost(host) + ": " + strings.TrimSuffix(text, `"`))
	_, _ = c.warned.do(context.Background(), line, func() (struct{}, error) {
		c.notice(line)
		return struct{}{}, nil
	})
}

// checkRedirect is for storage that registries send us to. Plain HTTP is
// refused by way; addresses are refused here, lest a registry makes us talk to
// a cloud's metadata service.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than ten redirects")
	}
	return mayLead(via[0].URL, req.URL)
}

// mayLead tells whether an answer from one address may send us to another.
func mayLead(from, to *url.URL) error {
	if to.Scheme != "https" && to.Scheme != "http" {
		return fmt.Errorf("%s sends us to scheme %q", from.Host, to.Scheme)
	}
	if to.Hostname() != from.Hostname() && isPrivate(to.Host) && !isLoopback(from.Host) && !isPrivate(from.Host) {
		return fmt.Errorf("%s sends us to the private address %s", from.Host, to.Host)
	}
	return nil
}
