package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	gitproto "github.com/go-git/go-git/v5/plumbing/transport/git"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// gitClient talks to the servers of one request: the repository and its submodules.
type gitClient struct {
	*GitRequest
	main gitURL
	left atomic.Int64 // how many bytes may still come, when MaxBytes is set
}

func newGitClient(r *GitRequest) (*gitClient, error) {
	u, err := r.check()
	if err != nil {
		return nil, err
	}
	c := &gitClient{GitRequest: r, main: u}
	c.left.Store(r.MaxBytes)
	return c, nil
}

// gitSession is a connection on which the server has said what it has.
type gitSession struct {
	refs *packp.AdvRefs
	// One of the two:
	smart transport.UploadPackSession
	dumb  *dumbServer
}

func (s *gitSession) close() error {
	if s.dumb != nil {
		return s.dumb.close()
	}
	return s.smart.Close()
}

// connect asks the server for its references.
func (c *gitClient) connect(ctx context.Context, u gitURL) (*gitSession, error) {
	s, err := c.open(u)
	if err != nil {
		return nil, wordGit(u, err)
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		_ = s.Close()
		if a, ok := errors.AsType[*dumbAnswer](err); ok {
			return c.connectDumb(ctx, u, a)
		}
		return nil, wordGit(u, err)
	}
	return &gitSession{smart: s, refs: refs}, nil
}

func (c *gitClient) open(u gitURL) (transport.UploadPackSession, error) {
	ep := u.endpoint()
	switch u.scheme {
	case "git":
		if ep.Port == 0 {
			ep.Port = gitproto.DefaultPort
		}
		return gitproto.DefaultClient.NewUploadPackSession(ep, nil)
	case "ssh":
		auth, err := c.sshAuth(u)
		if err != nil {
			return nil, err
		}
		return sshClient().NewUploadPackSession(ep, auth)
	}
	hc := c.httpClient()
	hc.Transport = &dumbDetector{rt: hc.Transport}
	// A nil AuthMethod in the interface, not a nil pointer: go-git looks.
	if auth := c.httpAuth(u); auth != nil {
		return githttp.NewClient(hc).NewUploadPackSession(ep, auth)
	}
	return githttp.NewClient(hc).NewUploadPackSession(ep, nil)
}

// httpClient is a client with our rules, whose answers are counted.
func (c *gitClient) httpClient() *http.Client {
	hc := careful(c.Client)
	rt := hc.Transport
	if rt == nil {
		rt = http.DefaultTransport
	}
	hc.Transport = &metered{rt: rt, c: c}
	return hc
}

// ErrDenied is in the chain of errors about repositories that want credentials,
// or others.
var ErrDenied = errors.New("access denied")

// denied and notThere say what kind of error they hold, and add no words.
type denied struct{ err error }

func (e *denied) Error() string   { return e.err.Error() }
func (e *denied) Unwrap() []error { return []error{ErrDenied, e.err} }

type notThere struct{ err error }

func (e *notThere) Error() string   { return e.err.Error() }
func (e *notThere) Unwrap() []error { return []error{fs.ErrNotExist, e.err} }

// isRefused tells whether an ssh server took none of the keys. There is no type for that.
func isRefused(err error) bool { return strings.Contains(err.Error(), "ssh: unable to authenticate") }

// wordGit says what an error of go-git is about, and whether it may pass.
func wordGit(u gitURL, err error) error {
	if err == nil {
		return nil
	}
	when := false
	var he *githttp.Err
	var ue *plumbing.UnexpectedError
	if errors.As(err, &ue) {
		err = ue.Err
	}
	ud, _ := errors.AsType[*packp.ErrUnexpectedData](err)
	switch {
	case ud != nil && bytes.Contains(ud.Data, []byte("object-format=sha256")):
		err = errSHA256 // go-git falls over the first hash
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed), isRefused(err):
		err = &denied{err}
	case errors.Is(err, transport.ErrRepositoryNotFound):
		err = &notThere{err}
	case errors.As(err, &he):
		when = passes(he.StatusCode())
	case errors.Is(err, io.ErrUnexpectedEOF), isNetwork(err):
		when = !isUntrusted(err)
	}
	return &mayPass{err: fmt.Errorf("fetch %s: %w", u, err), when: when}
}

// pick finds what ref means, in git's and BuildKit's order: a full name, a
// branch, a tag. The names are looked up, never used: a server can advertise
// anything.
func pick(refs *packp.AdvRefs, ref string) (t target, ok bool) {
	if ref == "" || ref == "HEAD" {
		if ref, ok = headOf(refs); !ok {
			if refs.Head == nil {
				return target{}, false
			}
			return target{name: refs.Head.String(), object: *refs.Head, advertised: true}, true
		}
	}
	for _, prefix := range []string{"refs/", "refs/heads/", "refs/tags/"} {
		name := prefix + strings.TrimPrefix(ref, prefix)
		if object, ok := refs.References[name]; ok {
			return target{name: name, object: object, commit: refs.Peeled[name], advertised: true}, true
		}
	}
	return target{}, false
}

// headOf is the default branch.
func headOf(refs *packp.AdvRefs) (string, bool) {
	for _, v := range refs.Capabilities.Get(capability.SymRef) {
		if name, ok := strings.CutPrefix(v, "HEAD:refs/heads/"); ok {
			return "refs/heads/" + name, true
		}
	}
	return "", false
}

// target is what is to be fetched.
type target struct {
	name       string // full name of the reference, or the commit
	object     plumbing.Hash
	commit     plumbing.Hash // what an annotated tag points to, where the server says so
	advertised bool          // the server offers object
}

// target says what the request means on a server that has refs.
func (c *gitClient) target(refs *packp.AdvRefs) (target, error) {
	if t, ok := c.fixed(); ok {
		return t.among(refs), nil
	}
	t, ok := pick(refs, c.Ref)
	if !ok {
		name := c.Ref
		if name == "" {
			name = "HEAD"
		}
		return target{}, &notThere{fmt.Errorf("fetch %s: the repository has no ref %q", c.main, name)}
	}
	if t.commit.IsZero() && !c.promised(t.object) || !t.commit.IsZero() && !c.promised(t.object, t.commit) {
		return target{}, &ChecksumError{Name: c.main.String() + "#" + c.Ref, Want: c.Checksum, Got: t.object.String()}
	}
	return t, nil
}

// fixed is the target when the request names a commit itself.
func (c *gitClient) fixed() (target, bool) {
	switch {
	case isCommit(c.Ref):
		return target{name: c.Ref, object: plumbing.NewHash(c.Ref)}, true
	case c.FetchByCommit && c.Ref == "":
		return target{name: c.Checksum, object: plumbing.NewHash(c.Checksum)}, true
	case c.FetchByCommit && strings.HasPrefix(c.Ref, "refs/"):
		return target{name: c.Ref, object: plumbing.NewHash(c.Checksum)}, true
	case c.FetchByCommit:
		return target{name: "refs/heads/" + c.Ref, object: plumbing.NewHash(c.Checksum)}, true
	}
	return target{}, false
}

func (t target) among(refs *packp.AdvRefs) target {
	for _, h := range refs.References {
		t.advertised = t.advertised || h == t.object
	}
	return t
}

// promised tells whether one of the objects is what the checksum says.
func (c *gitClient) promised(objects ...plumbing.Hash) bool {
	for _, h := range objects {
		if strings.HasPrefix(h.String(), c.Checksum) {
			return true
		}
	}
	return false
}

// GitInfo says what a GitRequest came to.
type GitInfo struct {
	// Ref is the full name of the reference, or the commit when one was asked for.
	Ref string
	// Object is what Ref points to: a commit or an annotated tag.
	Object string
	// Commit is what was, or would be, checked out.
	Commit string
	// Time is when Commit was made; zero when it was not fetched.
	Time time.Time
	// Missing are the submodules whose folders are empty, each with its reason.
	Missing []error
}

// ResolveGit asks the server what commit the request means. It fetches nothing,
// and asks nobody when the request names a commit itself.
func ResolveGit(ctx context.Context, r GitRequest) (GitInfo, error) {
	c, err := newGitClient(&r)
	if err != nil {
		return GitInfo{}, err
	}
	t, ok := c.fixed()
	if !ok {
		err = again(ctx, func(ctx context.Context) error {
			s, err := c.connect(ctx, c.main)
			if err != nil {
				return err
			}
			defer s.close()
			t, err = c.target(s.refs)
			return err
		})
	}
	if err != nil {
		return GitInfo{}, err
	}
	info := GitInfo{Ref: t.name, Object: t.object.String(), Commit: t.object.String()}
	if !t.commit.IsZero() {
		info.Commit = t.commit.String()
	}
	return info, nil
}
