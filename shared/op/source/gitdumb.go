package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// A web server that has the files of a repository, and knows nothing of git, is
// read file by file: the "dumb" protocol (gitprotocol-http(5)). It says what it
// has in files that git update-server-info writes.

const (
	smartRefs   = "application/x-git-upload-pack-advertisement"
	infoRefs    = "/info/refs"
	maxInfoRefs = 64 << 20
	maxHead     = 4 << 10
)

// dumbAnswer is what a web server answers to the first request of the smart
// protocol. It is an error to get it out of go-git.
type dumbAnswer struct {
	req  *http.Request // the last one, when there were redirects
	body []byte
	err  error // of reading it
}

func (*dumbAnswer) Error() string { return "the server does not speak git's smart protocol" }

// dumbDetector looks at the answers to go-git. It asks for nothing but the
// references with GET.
type dumbDetector struct{ rt http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (d *dumbDetector) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.rt.RoundTrip(req)
	if err != nil || req.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == smartRefs {
		return resp, nil
	}
	body, err := readUpTo(resp.Body, maxInfoRefs)
	return nil, &dumbAnswer{req: req, body: body, err: errors.Join(err, resp.Body.Close())}
}

// readUpTo reads something short as a whole.
func readUpTo(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return data, err
}

// dumbServer has the files of a repository.
type dumbServer struct {
	client *http.Client
	base   string // URL of the repository
	// authorization is what go-git sent there: nothing when a redirect went to
	// another server.
	authorization string
	dir           string // for files of ours

	packs  []*dumbPack
	listed bool // packs is what the server has
}

// connectDumb reads the references out of the files for them.
func (c *gitClient) connectDumb(ctx context.Context, u gitURL, a *dumbAnswer) (*gitSession, error) {
	if a.err != nil {
		return nil, wordGit(u, a.err)
	}
	at := *a.req.URL
	at.User, at.RawQuery, at.Fragment = nil, "", ""
	base, ok := strings.CutSuffix(at.String(), infoRefs)
	if !ok {
		return nil, fmt.Errorf("fetch %s: redirect to %s: not to a repository", u, at.String())
	}
	hc := c.httpClient()
	// As git does it: http.followRedirects is "initial" (git-config(1)).
	hc.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		return &redirectError{bare(req.URL.String()), "only the first request to a repository may be redirected"}
	}
	d := &dumbServer{client: hc, base: base, authorization: a.req.Header.Get("Authorization"), dir: c.Dir}
	refs, err := parseInfoRefs(a.body)
	if err == nil {
		err = d.head(ctx, refs)
	}
	if err != nil {
		return nil, wordGit(u, err)
	}
	return &gitSession{dumb: d, refs: refs}, nil
}

// parseInfoRefs reads lines as "commit<tab>name".
func parseInfoRefs(data []byte) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	for line := range bytes.Lines(data) {
		id, name, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\t")
		switch {
		case ok && len(id) == 64 && isHex(id):
			return nil, errSHA256
		case !ok || !isCommit(id) || !strings.HasPrefix(name, "refs/"):
			return nil, errors.New("not a git repository: info/refs is no list of references")
		}
		if tag, ok := strings.CutSuffix(name, "^{}"); ok {
			refs.Peeled[tag] = plumbing.NewHash(id)
		} else {
			refs.References[name] = plumbing.NewHash(id)
		}
	}
	if len(refs.References) == 0 {
		return nil, transport.ErrEmptyRemoteRepository
	}
	return refs, nil
}

// head finds the default branch. A repository may be without one.
func (d *dumbServer) head(ctx context.Context, refs *packp.AdvRefs) error {
	body, err := d.get(ctx, "HEAD")
	if body == nil || err != nil {
		return err
	}
	data, err := readUpTo(body, maxHead)
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("HEAD: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if name, ok := strings.CutPrefix(text, "ref:"); ok {
		name := plumbing.ReferenceName(strings.TrimSpace(name))
		return refs.AddReference(plumbing.NewSymbolicReference(plumbing.HEAD, name))
	}
	if isCommit(text) {
		h := plumbing.NewHash(text)
		refs.Head = &h
	}
	return nil
}

// get asks for a file of the repository; nil if it is not there.
func (d *dumbServer) get(ctx context.Context, name string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "strake")
	if d.authorization != "" {
		req.Header.Set("Authorization", d.authorization)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone {
		return nil, nil
	}
	return nil, githttp.NewErr(resp)
}
