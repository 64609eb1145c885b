// Package credentials finds the credential for a repository in what the user gave: files, variables, programs, clouds.
//
// The most specific match counts: an entry for host/org/app before one for
// host/org, before one for the host. A credential is for its host and port
// only. Nothing here reads the environment; the commands hand it over in
// Sources. Programs and clouds are asked when their answer is needed, never for
// hosts that are not theirs, and never for longer than a limit.
package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Sources says where credentials may come from, in the order in which equally
// specific ones count. The zero value has none.
type Sources struct {
	// Inline is the text of a docker config.json, as DOCKER_AUTH_CONFIG holds
	// it. Its entries go before those of Files, and do not hide them.
	Inline string
	// Files are config.json or auth.json files. Those that do not exist are left out.
	Files []string
	// Programs run docker-credential-* for the helpers that config files name.
	Programs Programs
	// Variables are "NAME=value", of which KANIKO_<HOST>_USER and
	// KANIKO_<HOST>_PASSWORD count.
	Variables []string
	// Providers are clouds, each asked for its own hosts.
	Providers []Provider
	// Logins are user and password of one host each.
	Logins []Login

	// Notice is told, in a line, what was passed over. It may be called from
	// several goroutines; nil means nobody listens.
	Notice func(line string)
}

// Login is a user and a password for one registry.
type Login struct {
	Host           string // "host" or "host:port", as in references
	User, Password string
	Origin         string // where it was found, for messages: "CI_REGISTRY_USER"
}

// Provider gets credentials from a cloud.
type Provider interface {
	// Name is what config files and --credential-helpers call it.
	Name() string
	// Serves tells whether a registry is the cloud's own. No other is asked for.
	Serves(host string) bool
	// Credential gets a credential for a host it serves, and until when it is good.
	// It returns within a limit of its own, however the network is.
	Credential(ctx context.Context, host string) (authn.AuthConfig, time.Time, error)
}

// Keychain answers for repositories. It implements authn.Keychain and is safe
// for concurrent use.
type Keychain struct {
	entries []entry
	notice  func(string)

	mu    sync.Mutex
	known map[string]*known // by origin and host: what programs and clouds said
}

// entry is one thing that may have the credential for a target.
type entry struct {
	origin string
	// fits tells whether it is for the target, and how specific it is: 0 for the
	// host, more for a path, less for a part of the host's name.
	fits func(target scope) (rank int, ok bool)
	weak bool // a failure is told and passed over
	soft bool // until when an answer is good is a guess: it stays where there is no newer one
	get  func(ctx context.Context, target scope) (authn.AuthConfig, time.Time, error)
}

// ErrNone says that a Provider, or a credential program, has no credential for
// the registry. That is passed over in silence, unlike other errors.
var ErrNone = errors.New("no credential")

// ErrSources says that what the user gave cannot be used: a file that is broken,
// a program that fails.
var ErrSources = errors.New("credentials")

// New reads the files and reports everything wrong with s at once. No program
// is run and no network used yet.
func New(s Sources) (*Keychain, error) {
	k := &Keychain{notice: s.Notice, known: make(map[string]*known)}
	if k.notice == nil {
		k.notice = func(string) {}
	}
	var errs []error
	add := func(es []entry, err error) {
		k.entries = append(k.entries, es...)
		errs = append(errs, err)
	}
	add(s.inline())
	for _, f := range s.Files {
		add(s.file(f))
	}
	add(variables(s.Variables), nil)
	for _, p := range s.Providers {
		add([]entry{provided(p)}, nil)
	}
	for _, l := range s.Logins {
		add(l.entries())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return k, nil
}

func (l Login) entries() ([]entry, error) {
	sc := parseScope(l.Host)
	if sc.host == "" || sc.path != "" {
		return nil, fmt.Errorf("%w: %s: %q is not the host of a registry", ErrSources, l.Origin, l.Host)
	}
	return []entry{{origin: l.Origin, fits: sc.fits, get: always(authn.AuthConfig{Username: l.User, Password: l.Password})}}, nil
}

func provided(p Provider) entry {
	return entry{
		origin: p.Name(), weak: true,
		fits: func(t scope) (int, bool) { return 0, p.Serves(t.host) },
		get: func(ctx context.Context, t scope) (authn.AuthConfig, time.Time, error) {
			return p.Credential(ctx, t.host)
		},
	}
}

func always(c authn.AuthConfig) func(context.Context, scope) (authn.AuthConfig, time.Time, error) {
	return func(context.Context, scope) (authn.AuthConfig, time.Time, error) { return c, time.Time{}, nil }
}

// Credential is what was found for a repository.
type Credential struct {
	authn.AuthConfig
	Origin  string    // where it was found: a file and its entry, a variable, a cloud
	Expires time.Time // zero when that is not known
}

// Find gives the credential for a repository, "host[:port]/path", or nil when
// there is none. A program that a config file names for this very registry and
// that fails is an error; no other source is asked then, lest another account
// is used unnoticed.
func (k *Keychain) Find(ctx context.Context, repository string) (*Credential, error) {
	target := parseScope(repository)
	for _, e := range k.matching(target) {
		c, until, err := k.ask(ctx, e, target)
		switch {
		case err == nil:
			return &Credential{AuthConfig: c, Origin: e.origin, Expires: until}, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, ErrNone), e.weak:
		default:
			return nil, fmt.Errorf("%w: %s: %w", ErrSources, e.origin, err)
		}
	}
	return nil, nil
}

// matching are the entries that may answer, the most specific first.
func (k *Keychain) matching(target scope) []entry {
	type ranked struct {
		entry
		rank int
	}
	var rs []ranked
	for _, e := range k.entries {
		if rank, ok := e.fits(target); ok {
			rs = append(rs, ranked{e, rank})
		}
	}
	slices.SortStableFunc(rs, func(a, b ranked) int { return cmp.Compare(b.rank, a.rank) })
	es := make([]entry, len(rs))
	for i, r := range rs {
		es[i] = r.entry
	}
	return es
}

// Resolve implements authn.Keychain.
func (k *Keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain. What it returns asks again
// when a credential has expired, and has a method Origin.
func (k *Keychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	repository := r.String()
	if !strings.HasPrefix(repository, r.RegistryStr()) {
		repository = r.RegistryStr() + "/" + repository
	}
	c, err := k.Find(ctx, repository)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return authn.Anonymous, nil
	}
	return &authenticator{k: k, repository: repository, now: *c}, nil
}

// authenticator holds a credential for as long as it is good.
type authenticator struct {
	k          *Keychain
	repository string

	mu  sync.Mutex
	now Credential
}

// Origin says where the credential was found.
func (a *authenticator) Origin() string { return a.now.Origin }

func (a *authenticator) Authorization() (*authn.AuthConfig, error) {
	return a.AuthorizationContext(context.Background())
}

// AuthorizationContext implements authn.ContextAuthenticator.
func (a *authenticator) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if expired(a.now.Expires) {
		c, err := a.k.Find(ctx, a.repository)
		if err != nil {
			return nil, fmt.Errorf("renew the credential for %s: %w", a.repository, err)
		}
		if c == nil {
			return &authn.AuthConfig{}, nil
		}
		a.now.AuthConfig, a.now.Expires = c.AuthConfig, c.Expires
	}
	c := a.now.AuthConfig
	return &c, nil
}

// early is how long before its end a credential is renewed: an upload that
// begins with it may take a while.
const early = 5 * time.Minute

func expired(t time.Time) bool { return !t.IsZero() && time.Until(t) < early }

// known is an answer, or the question being asked.
type known struct {
	mu    sync.Mutex
	asked bool
	c     authn.AuthConfig
	until time.Time
	err   error
}

// ask asks an entry, once for each host until the answer expires: a program or
// a cloud that does not answer holds a build up once, not for every image.
func (k *Keychain) ask(ctx context.Context, e entry, target scope) (authn.AuthConfig, time.Time, error) {
	k.mu.Lock()
	id := e.origin + "\x00" + target.host
	n := k.known[id]
	if n == nil {
		n = &known{}
		k.known[id] = n
	}
	k.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked && !expired(n.until) {
		return n.c, n.until, n.err
	}
	c, until, err := e.get(ctx, target)
	if err != nil && e.soft && n.asked && n.err == nil && !until.IsZero() { // a cloud that stands in for a program knows the end
		n.until = until
		return n.c, n.until, nil
	}
	n.c, n.until, n.err = c, until, err
	none := n.err == nil || errors.Is(n.err, ErrNone)
	// A cancelled question says nothing about the next one.
	n.asked = ctx.Err() == nil && (none || e.weak)
	if n.asked && !none {
		k.notice(fmt.Sprintf("no credential for %s from %s: %v", target.host, e.origin, n.err))
	}
	return n.c, n.until, n.err
}
