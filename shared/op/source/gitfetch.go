package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// repository is what was fetched, on disk as a bare repository.
type repository struct {
	url    gitURL
	dir    string
	store  *filesystem.Storage
	target target
	commit *object.Commit
	depth  int // 0 for the repository asked for, 1 for its submodules, …

	modules map[string]module // by path; nil until they are needed
	staged  []staged          // what has been checked out, for the index
	subs    []child
}

const (
	objectCacheSize = 32 * cache.MiByte
	// Larger blobs are not held in memory.
	largeObject = 16 << 20
)

// fetch gets one commit of a repository, without its history if the server can
// do that.
func (c *gitClient) fetch(ctx context.Context, u gitURL, choose func(*packp.AdvRefs) (target, error)) (*repository, error) {
	dir, err := os.MkdirTemp(c.Dir, "git-")
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u, err)
	}
	r := &repository{url: u, dir: dir}
	r.store = filesystem.NewStorageWithOptions(osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(objectCacheSize),
		filesystem.Options{KeepDescriptors: true, LargeObjectThreshold: largeObject})
	if err := r.store.Init(); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u, err)
	}
	if err := again(ctx, func(ctx context.Context) error { return c.download(ctx, r, choose) }); err != nil {
		return nil, errors.Join(err, r.store.Close())
	}
	if r.commit, err = r.peel(r.target.object); err != nil {
		return nil, errors.Join(fmt.Errorf("fetch %s: %w", u, err), r.store.Close())
	}
	return r, nil
}

// download makes one attempt: the commit alone, else everything.
func (c *gitClient) download(ctx context.Context, r *repository, choose func(*packp.AdvRefs) (target, error)) error {
	s, err := c.connect(ctx, r.url)
	if err != nil {
		return err
	}
	defer s.close()
	if r.target, err = choose(s.refs); err != nil {
		return err
	}
	if s.dumb != nil {
		return wordGit(r.url, s.dumb.pull(ctx, r))
	}
	want := r.target.object
	caps := s.refs.Capabilities
	if r.target.advertised || caps.Supports(capability.AllowReachableSHA1InWant) || caps.Supports(capability.AllowTipSHA1InWant) {
		err := c.pull(ctx, r, s, c.depth(r), want)
		if err == nil && r.has(want) {
			return nil
		}
		if err == nil && r.target.advertised {
			return fmt.Errorf("fetch %s: the server did not send %s", r.url, want)
		}
		if r.target.advertised || ctx.Err() != nil || errors.Is(err, errTooMuch) {
			return wordGit(r.url, err)
		}
		// A server may allow commits that it offers, and no others.
		if s, err = c.connect(ctx, r.url); err != nil {
			return err
		}
		defer s.close()
	}
	if err := c.pull(ctx, r, s, 0, tips(s.refs)...); err != nil {
		return wordGit(r.url, err)
	}
	if !r.has(want) {
		return fmt.Errorf("fetch %s: no branch or tag has the commit %s", r.url, want)
	}
	return nil
}

// depth is how much of the history of r is wanted. That of submodules never is.
func (c *gitClient) depth(r *repository) int {
	switch {
	case c.Depth == 0 || r.url != c.main:
		return 1
	case c.Depth < 0:
		return 0
	}
	return c.Depth
}

// tips are the ends of all branches and tags.
func tips(refs *packp.AdvRefs) []plumbing.Hash {
	var out []plumbing.Hash
	for name, h := range refs.References {
		if n := plumbing.ReferenceName(name); n.IsBranch() || n.IsTag() {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b plumbing.Hash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out)
}

// pull fetches objects; depth 0 is their whole history.
func (c *gitClient) pull(ctx context.Context, r *repository, s *gitSession, depth int, wants ...plumbing.Hash) (err error) {
	req := packp.NewUploadPackRequestFromCapabilities(s.refs.Capabilities)
	req.Wants = wants
	if depth > 0 && s.refs.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(depth)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
	}
	if s.refs.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	resp, err := s.smart.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Close()) }()
	if err := r.setShallow(resp.Shallows); err != nil {
		return err
	}
	pack := demultiplex(req.Capabilities, resp)
	if r.url.scheme != "http" && r.url.scheme != "https" {
		pack = &meter{r: pack, c: c}
	}
	return packfile.UpdateObjectStorage(r.store, pack)
}

func (r *repository) has(h plumbing.Hash) bool {
	_, err := r.store.EncodedObject(plumbing.AnyObject, h)
	return err == nil
}

// setShallow notes the commits whose parents were not fetched. That there are
// none is said by having no file.
func (r *repository) setShallow(commits []plumbing.Hash) error {
	if len(commits) > 0 {
		return r.store.SetShallow(commits)
	}
	err := os.Remove(filepath.Join(r.dir, "shallow"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func demultiplex(caps *capability.List, r io.Reader) io.Reader {
	switch {
	case caps.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case caps.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// maxTags is how many annotated tags may point to each other.
const maxTags = 10

// peel follows annotated tags to the commit.
func (r *repository) peel(h plumbing.Hash) (*object.Commit, error) {
	for range maxTags {
		obj, err := r.store.EncodedObject(plumbing.AnyObject, h)
		if err != nil {
			return nil, fmt.Errorf("object %s: %w", h, err)
		}
		switch obj.Type() {
		case plumbing.CommitObject:
			return object.DecodeCommit(r.store, obj)
		case plumbing.TagObject:
			tag, err := object.DecodeTag(r.store, obj)
			if err != nil {
				return nil, fmt.Errorf("tag %s: %w", h, err)
			}
			h = tag.Target
		default:
			return nil, fmt.Errorf("object %s: a %s, not a commit", h, obj.Type())
		}
	}
	return nil, fmt.Errorf("more than %d tags of tags", maxTags)
}

var errTooMuch = errors.New("more than the limit of bytes")

// take counts what has come.
func (c *gitClient) take(n int) error {
	if c.MaxBytes > 0 && c.left.Add(int64(-n)) < 0 {
		return fmt.Errorf("%w: %d", errTooMuch, c.MaxBytes)
	}
	return nil
}

// meter counts the bytes of a stream.
type meter struct {
	r io.Reader
	c *gitClient
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if terr := m.c.take(n); terr != nil {
		return n, terr
	}
	return n, err
}

// metered counts the bytes of answers, and keeps pages of errors short: go-git
// reads those into memory.
type metered struct {
	rt http.RoundTripper
	c  *gitClient
}

// RoundTrip implements http.RoundTripper.
func (m *metered) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body := io.Reader(&meter{r: resp.Body, c: m.c})
	if resp.StatusCode > 299 {
		body = io.LimitReader(body, 1<<10)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}

// isNetwork tells whether err is about the way to the server.
func isNetwork(err error) bool {
	if _, ok := errors.AsType[*redirectError](err); ok {
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.IsTemporary || dns.IsTimeout
	}
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
