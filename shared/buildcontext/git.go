package buildcontext

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/strake-build/strake/shared/op/source"
)

// Git says how repositories are fetched.
type Git struct {
	// Branch counts when the address names no reference.
	Branch string
	// Depth is how many commits of history a kept .git has; 0 is one.
	Depth int
	// Submodules fetches the submodules (true) or leaves their folders empty
	// (false). Nil fetches those that this client may have, and says of the others
	// that their folders are empty: kaniko never fetched any, docker build always.
	Submodules *bool
	// KeepGitDir leaves .git in the context.
	KeepGitDir bool
	// Method is the protocol for git://: https (the default, as in kaniko), http
	// or git.
	Method string
	// Token is tried as a user's name, as kaniko has it, then as the password of
	// x-access-token. User and Password count where there is none.
	Token, User, Password string
	// CA is trusted besides the system's, in PEM; SkipTLSVerify trusts everybody.
	CA            []byte
	SkipTLSVerify bool
	// KnownHosts is what known_hosts files say, SSH the ID of the agent with the keys.
	KnownHosts, SSH string
}

// The secrets by which credentials reach op/source, and BuildKit's, which are
// those of the build where we have none.
const (
	ownHeader    = "strake-git-context"
	buildkitAuth = "GIT_AUTH_TOKEN"
	buildkitHead = "GIT_AUTH_HEADER"
)

// git is a context in a repository.
type git struct {
	Git
	address gitAddress
	request source.GitRequest
}

func newGit(ref string, o Options) (Source, error) {
	a, err := parseGitAddress(ref, o.Git.Method)
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", shown(strings.SplitN(ref, "#", 2)[0]), err)
	}
	g := &git{Git: o.Git, address: a}
	g.request = source.GitRequest{
		Remote: a.remote, Ref: a.ref, Subdir: a.subdir, Checksum: a.commit, KnownHosts: o.Git.KnownHosts, SSH: o.Git.SSH,
		KeepGitDir: o.Git.KeepGitDir || a.keepGitDir, Depth: o.Git.Depth, CommitTime: a.commitTime,
		FetchByCommit: a.byCommit,
	}
	submodules := o.Git.Submodules
	if a.submodules != nil {
		submodules = a.submodules
	}
	g.request.SkipSubmodules = submodules != nil && !*submodules
	g.request.OptionalSubmodules = submodules == nil
	if g.request.Ref == "" && o.Git.Branch != "" {
		g.request.Ref = "refs/heads/" + strings.TrimPrefix(o.Git.Branch, "refs/heads/")
	}
	if o.Checksum != "" {
		if a.commit != "" && a.commit != o.Checksum {
			return nil, fmt.Errorf("context %s: it names the commit %s, and the checksum another", a.shown, a.commit)
		}
		g.request.Checksum = o.Checksum
		g.request.FetchByCommit = g.request.FetchByCommit && a.commit != ""
	}
	if err := g.request.Validate(); err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	if len(o.Git.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(o.Git.CA) {
		return nil, fmt.Errorf("context %s: there is no certificate in git's CA file", a.shown)
	}
	return g, nil
}

func (g *git) within(sub string) {
	if sub = cleanSub(sub); sub != "" {
		g.request.Subdir = strings.TrimPrefix(g.request.Subdir+"/"+sub, "/")
	}
}

// Fetch implements Source.
func (g *git) Fetch(ctx context.Context, m Means) (*Context, error) {
	headers := g.headers()
	var err error
	for _, h := range headers {
		var c *Context
		if c, err = g.fetch(ctx, m, h); err == nil || !errors.Is(err, source.ErrDenied) {
			return c, err
		}
	}
	if g.Token == "" && g.User == "" && strings.HasPrefix(g.address.remote, "http") {
		err = fmt.Errorf("%w; set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD", err)
	}
	return nil, err
}

// headers are the credentials to be tried, as Authorization headers; "" is none of our own.
func (g *git) headers() []string {
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	switch {
	case g.Token != "":
		return []string{basic(g.Token, ""), basic("x-access-token", g.Token)}
	case g.User != "" || g.Password != "":
		return []string{basic(g.User, g.Password)}
	}
	return []string{""}
}

func (g *git) fetch(ctx context.Context, m Means, header string) (*Context, error) {
	r := g.request
	var err error
	if r.Dir, err = os.MkdirTemp(m.Dir, "git-"); err != nil {
		return nil, fmt.Errorf("make a directory for the repository: %w", err)
	}
	r.Dial, r.Client = m.Dial, g.client(m)
	r.AuthHeader, r.AuthToken, r.Secrets = buildkitHead, buildkitAuth, m.Secrets
	switch {
	case header != "":
		r.AuthHeader, r.AuthToken = ownHeader, ""
		r.Secrets = func(id string) ([]byte, bool) { return []byte(header), id == ownHeader }
	case g.address.password:
		r.Secrets = nil
	}
	t, info, err := source.Git(ctx, r)
	if _, ok := errors.AsType[*source.SubmoduleError](err); ok && r.OptionalSubmodules {
		err = fmt.Errorf("%w; --git recurse-submodules=false leaves it out", err)
	}
	if err != nil {
		return nil, err
	}
	c := &Context{
		Table: t, Origin: fmt.Sprintf("%s#%s (commit %s)", g.address.shown, info.Ref, info.Commit),
		URI: g.address.shown + "#" + info.Ref, Digest: map[string]string{"gitCommit": info.Commit},
	}
	for _, missing := range info.Missing {
		c.Notices = append(c.Notices, fmt.Sprintf("%v; its folder is empty, which --git recurse-submodules=true makes an error of and =false asks for", missing))
	}
	return c, nil
}

// client is the build's with what is said about git's certificates.
func (g *git) client(m Means) *http.Client {
	if len(g.CA) == 0 && !g.SkipTLSVerify {
		return client(m)
	}
	t := transport()
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: g.SkipTLSVerify}
	if len(g.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil || pool == nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(g.CA)
		t.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: t}
}
