package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Repository is one repository as it is, for what keeps its own manifests there:
// no maps, no mirrors, nothing remembered. It is safe for concurrent use.
type Repository struct {
	c  *Client
	at place
}

// Repository names "[host/]repository", without a tag. Nothing is sent yet.
func (c *Client) Repository(name string) (*Repository, error) {
	r, err := parseReference(name)
	if err != nil {
		return nil, err
	}
	if r.digest != "" || r.tag != "latest" || strings.HasSuffix(name, ":latest") {
		return nil, fmt.Errorf("repository %q: it is named without a tag or digest", name)
	}
	return &Repository{c, r.place}, nil
}

// String is the repository in full: host/path.
func (r *Repository) String() string { return r.at.String() }

// Manifest fetches the manifest of a tag or digest. Errors are *Error, of the
// kind ErrNotFound where there is none.
func (r *Repository) Manifest(ctx context.Context, id string) (*Document, error) {
	s, err := r.session(ctx, pull)
	if err != nil {
		return nil, r.failure(id, err)
	}
	d, err := s.manifest(ctx, id, nil)
	if err != nil {
		return nil, r.failure(id, err)
	}
	return newDocument(r.String()+":"+id, s, d), nil
}

// Open reads a blob, as Layer.Open does.
func (r *Repository) Open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	s, err := r.session(ctx, pull)
	if err != nil {
		return nil, r.failure(d.Digest.String(), err)
	}
	b, err := s.blob(ctx, d)
	if err != nil {
		return nil, r.failure(d.Digest.String(), err)
	}
	return b, nil
}

// Pusher makes a pusher to a tag of the repository.
func (r *Repository) Pusher(tag string) (*Pusher, error) { return r.c.Pusher(r.String() + ":" + tag) }

// Tags lists the repository's tags; one that does not exist has none.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	s, err := r.session(ctx, pull)
	if err != nil {
		return nil, r.failure("", err)
	}
	tags, err := remote.List(s.repo, remote.WithContext(ctx), remote.WithTransport(s.rt))
	if err != nil && kindOf(err) != ErrNotFound {
		return nil, r.failure("", err)
	}
	return tags, nil
}

// Delete takes away a manifest, by its digest, or a tag. Many registries refuse
// one or the other.
func (r *Repository) Delete(ctx context.Context, id string) error {
	s, err := r.session(ctx, push)
	if err != nil {
		return r.failure(id, err)
	}
	resp, err := s.do(ctx, http.MethodDelete, s.url("manifests", id), nil, http.StatusAccepted, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return r.failure(id, err)
	}
	discard(resp.Body)
	return nil
}

func (r *Repository) session(ctx context.Context, d direction) (*session, error) {
	return r.c.session(ctx, sessionKey{dir: d, at: r.at})
}

func (r *Repository) failure(id string, err error) error {
	ref := r.String()
	if id != "" {
		ref += ":" + id
		if strings.Contains(id, ":") {
			ref = r.String() + "@" + id
		}
	}
	return failure("pull", ref, r.at, err)
}
