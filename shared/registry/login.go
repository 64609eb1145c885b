package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// login puts credentials or a token on a session's requests to its registry:
// to that scheme, host and port, and to nothing else. A token is renewed before
// it ends, and when the registry wants another one.
type login struct {
	next   http.RoundTripper
	reg    name.Registry
	scheme string // that the registry was found to speak
	auth   authn.Authenticator
	realms realms

	mu        sync.Mutex
	challenge *transport.Challenge // nil until the registry asks for a token
	scopes    []string
	identity  string // a refresh token, in place of the one in auth
	token     string
	until     time.Time // when to renew it
}

// RoundTrip implements http.RoundTripper.
func (l *login) RoundTrip(in *http.Request) (*http.Response, error) {
	if !l.own(in.URL) {
		return l.abroad(in)
	}
	token, err := l.current(in.Context())
	if err != nil {
		return nil, err
	}
	resp, err := l.send(in, token)
	for range renewals {
		if err != nil || resp.StatusCode != http.StatusUnauthorized || !repeatable(in) {
			return resp, err
		}
		// The token ended early, or has another scope than is wanted here.
		ch := challengeOf(resp)
		if ch == nil {
			return resp, nil
		}
		renewed, err := l.answer(in.Context(), ch, token)
		if err != nil {
			discard(resp.Body)
			return nil, err
		}
		if renewed == token {
			return resp, nil // the user's own token, of which there is one only
		}
		discard(resp.Body)
		token = renewed
		if resp, err = l.send(in, token); err != nil {
			return resp, err
		}
	}
	return resp, err
}

// renewals is how often a request gets another token: one that it shares with others may end again before it is sent.
const renewals = 3

// own tells whether a URL is the registry's. The scheme is corrected to the one
// that is spoken: registries behind proxies are often wrong about it.
func (l *login) own(u *url.URL) bool {
	return l.address(u.Host) == l.address(l.reg.RegistryStr())
}

func (l *login) address(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), map[string]string{"https": "443", "http": "80"}[l.scheme])
}

func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// send sends a copy of the request with a token, or the credential itself.
func (l *login) send(in *http.Request, token string) (*http.Response, error) {
	out := in.Clone(in.Context())
	out.URL.Scheme = l.scheme
	if token != "" {
		out.Header.Set("Authorization", "Bearer "+token)
		return l.next.RoundTrip(out)
	}
	c, err := authn.Authorization(in.Context(), l.auth)
	switch {
	case err != nil:
		return nil, err
	case c.RegistryToken != "":
		out.Header.Set("Authorization", "Bearer "+c.RegistryToken)
	case c.Username != "" && c.Password != "":
		out.SetBasicAuth(c.Username, c.Password)
	}
	return l.next.RoundTrip(out)
}

// current is the token to use, "" while the registry asked for none.
func (l *login) current(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.challenge == nil || l.token != "" && (l.until.IsZero() || time.Now().Before(l.until)) {
		return l.token, nil
	}
	if err := l.renew(ctx); err != nil {
		return "", err
	}
	return l.token, nil
}

// answer gets a token by a challenge, unless another request did it meanwhile.
func (l *login) answer(ctx context.Context, ch *transport.Challenge, refused string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := ch.Parameters["scope"]
	if l.token != refused && (want == "" || slices.Contains(l.scopes, want)) {
		return l.token, nil
	}
	if want != "" && !slices.Contains(l.scopes, want) {
		// First, as some token services look at the first one only.
		l.scopes = append([]string{want}, l.scopes...)
	}
	if l.challenge == nil {
		ch.Insecure = l.scheme == "http"
		l.challenge = ch
	}
	err := l.renew(ctx)
	return l.token, err
}

// defaultLife is how long a token is good that does not say it (distribution,
// "Token Authentication Specification", expires_in).
const defaultLife = 60 * time.Second

// renew gets a token. The lock is held.
func (l *login) renew(ctx context.Context) error {
	c, err := authn.Authorization(ctx, l.auth)
	if err != nil {
		return err
	}
	if c.RegistryToken != "" {
		l.token = c.RegistryToken
		return nil
	}
	if l.identity != "" {
		c.IdentityToken = l.identity
	}
	token, err := l.exchange(ctx, c)
	if err != nil {
		return err
	}
	l.token = cmp.Or(token.AccessToken, token.Token)
	if token.RefreshToken != "" {
		l.identity = token.RefreshToken
	}
	life := defaultLife
	if token.ExpiresIn > 0 {
		life = time.Duration(min(token.ExpiresIn, 24*60*60)) * time.Second
	}
	l.until = time.Now().Add(life * 4 / 5)
	return nil
}

func (l *login) exchange(ctx context.Context, c *authn.AuthConfig) (*transport.Token, error) {
	if *c == (authn.AuthConfig{}) {
		reg := l.reg
		if u, err := url.Parse(l.challenge.Parameters["realm"]); err == nil && hostname(u.Host) == hostname(reg.RegistryStr()) {
			reg = serviceAt(u, reg)
		}
		return transport.Exchange(ctx, reg, authn.Anonymous, l.next, l.scopes, l.challenge)
	}
	realm, err := l.realms.check(l.reg.RegistryStr(), l.challenge)
	if err != nil {
		return nil, err
	}
	return transport.Exchange(ctx, serviceAt(realm, l.reg), authn.FromConfig(*c), only(realm, l.next), l.scopes, l.challenge)
}

// serviceAt names a token service as its own registry, for which
// go-containerregistry takes it whatever its address: a private one on another
// port than the registry, as on-premises installations have it, is fine.
func serviceAt(realm *url.URL, otherwise name.Registry) name.Registry {
	if reg, err := name.NewRegistry(realm.Host); err == nil {
		return reg
	}
	return otherwise
}

// only keeps requests with a credential at the token service they were meant for.
func only(realm *url.URL, next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Host != realm.Host || req.URL.Scheme != realm.Scheme {
			return nil, fmt.Errorf("the token service %s redirects to %s://%s: %w", realm.Host, req.URL.Scheme, req.URL.Host, errRealm)
		}
		return next.RoundTrip(req)
	})
}

// abroad sends a request to where the registry sent us: without credentials,
// with a token for anybody where that is asked for.
func (l *login) abroad(in *http.Request) (*http.Response, error) {
	out := in.Clone(in.Context())
	out.Header.Del("Authorization")
	resp, err := l.next.RoundTrip(out)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !repeatable(in) {
		return resp, err
	}
	ch := challengeOf(resp)
	reg, rerr := name.NewRegistry(in.URL.Host, name.WeakValidation)
	if ch == nil || rerr != nil {
		return resp, nil
	}
	ch.Insecure = in.URL.Scheme == "http"
	var scopes []string
	if s := ch.Parameters["scope"]; s != "" {
		scopes = append(scopes, s)
	}
	token, err := transport.Exchange(in.Context(), reg, authn.Anonymous, l.next, scopes, ch)
	if err != nil {
		return resp, nil //nolint:nilerr // the refusal is the better answer
	}
	discard(resp.Body)
	out = in.Clone(in.Context())
	out.Header.Set("Authorization", "Bearer "+cmp.Or(token.AccessToken, token.Token))
	return l.next.RoundTrip(out)
}

// challengeOf reads the Bearer challenge of an answer; nil when it has none.
// go-containerregistry's parser has this one door.
func challengeOf(resp *http.Response) *transport.Challenge {
	reg, err := name.NewRegistry("registry.invalid")
	if err != nil {
		return nil
	}
	said := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: resp.StatusCode, Header: resp.Header, Body: http.NoBody}, nil
	})
	ch, err := transport.Ping(context.Background(), reg, said)
	if err != nil || !strings.EqualFold(ch.Scheme, "bearer") || ch.Parameters["realm"] == "" {
		return nil
	}
	return ch
}

var errRealm = errors.New("it may not have the credential")
