package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// MountLayer is a layer that is in a registry already. Pushed into the same
// registry, it is mounted, and its content is not read.
type MountLayer struct {
	v1.Layer
	Repository string // where it is, as Image.Repository: host/path
}

// Upload brings a layer into the destination's repository: nothing is done
// when it is there, it is mounted when the registry has it elsewhere, or else
// sent. It happens once per digest and repository; others wait for it. Layers
// that may not be distributed stay where they are.
func (p *Pusher) Upload(ctx context.Context, l v1.Layer) error {
	mt, err := l.MediaType()
	if err != nil {
		return p.failure(err)
	}
	if !mt.IsDistributable() {
		return nil
	}
	digest, err := l.Digest()
	if err != nil {
		return p.failure(fmt.Errorf("upload a layer: %w", err))
	}
	_, err = p.c.uploads.do(ctx, blobKey{p.ref.place, digest}, func() (struct{}, error) {
		return struct{}{}, p.upload(ctx, l, digest)
	})
	if err != nil {
		return p.failure(fmt.Errorf("upload blob %s: %w", digest, err))
	}
	return nil
}

// upload is a blob on its way into a repository.
type upload struct {
	p      *Pusher
	s      *session
	layer  v1.Layer
	digest v1.Hash
	size   int64

	at      *url.URL // where an attempt broke off
	got     int64    // bytes the registry had there
	most    int64    // got, at its greatest
	resumed bool
}

func (p *Pusher) upload(ctx context.Context, l v1.Layer, digest v1.Hash) error {
	s, err := p.session(ctx, "")
	if err != nil {
		return err
	}
	u := &upload{p: p, s: s, layer: l, digest: digest}
	if u.size, err = l.Size(); err != nil {
		return err
	}
	release, err := p.c.sending.take(ctx, seenKey{p.ref.host, digest})
	if err != nil {
		return err
	}
	defer release()
	for attempt := 0; ; attempt++ {
		err := u.try(ctx)
		if err == nil {
			p.c.seen.add(p.ref.place, digest)
			return nil
		}
		if u.got-u.most >= progress {
			attempt, u.most = 0, u.got // slow, but it gets on
		}
		if attempt >= p.c.retry.extra || ctx.Err() != nil || !u.mayGoOn(err) || p.c.retry.held(p.ref.host) > p.c.retry.obey {
			return err
		}
		if u.resumed && errors.As(err, new(*transport.Error)) {
			u.at = nil // it answered, and will not have the rest
		}
		if err := sleep(ctx, p.c.retry.pause(attempt)); err != nil {
			return err
		}
	}
}

// mayGoOn: an upload the registry lost track of, or put together wrongly, begins anew.
func (u *upload) mayGoOn(err error) bool {
	if kindOf(err) == ErrUnavailable {
		return true
	}
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return false
	}
	for _, d := range te.Errors {
		switch d.Code {
		case transport.BlobUploadUnknownErrorCode, transport.BlobUploadInvalidErrorCode:
			return true
		case transport.DigestInvalidErrorCode:
			return u.resumed
		}
	}
	return te.StatusCode == http.StatusRequestedRangeNotSatisfiable
}

// try does it once: not at all, by a mount, by the rest of what broke off, or whole.
func (u *upload) try(ctx context.Context) error {
	resp, err := u.s.do(ctx, http.MethodHead, u.s.url("blobs", u.digest.String()), nil, http.StatusOK)
	if err == nil {
		discard(resp.Body)
		return nil
	}
	// Some registries forbid to look, and allow to push: the upload will tell.
	if k := kindOf(err); k != ErrNotFound && k != ErrDenied {
		return err
	}
	if u.resumed = u.status(ctx); u.resumed {
		return u.rest(ctx)
	}
	at, err := u.p.mount(ctx, u.layer, u.digest)
	if err == nil && at == nil {
		return nil
	}
	if err != nil || at == nil {
		if at, err = u.s.beginUpload(ctx); err != nil {
			return err
		}
	}
	u.at, u.got = at, 0
	return u.finish(ctx, 0)
}

var errNoSource = errors.New("no source to mount from")

// mount asks the registry to take the blob over from another repository. It
// returns nil when that is done, and the place of an upload when the registry
// would rather have it sent (202). Errors are no reason to stop.
func (p *Pusher) mount(ctx context.Context, l v1.Layer, digest v1.Hash) (*url.URL, error) {
	from := p.source(l, digest)
	if from == "" || from == p.ref.path {
		return nil, errNoSource
	}
	// The token must allow to pull there. When it cannot be had, so be it.
	s, err := p.session(ctx, from)
	if err != nil {
		return nil, err
	}
	u := s.url("blobs", "uploads", "")
	u.RawQuery = url.Values{"mount": {digest.String()}, "from": {from}}.Encode()
	resp, err := s.do(ctx, http.MethodPost, u, nil, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	defer discard(resp.Body)
	if resp.StatusCode == http.StatusCreated {
		return nil, nil
	}
	return location(resp)
}

// source is the path of another repository of the same registry that has the blob.
func (p *Pusher) source(l v1.Layer, digest v1.Hash) string {
	switch l := l.(type) {
	case *MountLayer:
		if r, err := parseReference(l.Repository); err == nil && r.host == p.ref.host {
			return r.path
		}
	case *remote.MountableLayer:
		if repo := l.Reference.Context(); repo.RegistryStr() == p.ref.host {
			return repo.RepositoryStr()
		}
	}
	return p.c.seen.get(p.ref.host, digest)
}

// beginUpload asks where to send a blob.
func (s *session) beginUpload(ctx context.Context) (*url.URL, error) {
	resp, err := s.do(ctx, http.MethodPost, s.url("blobs", "uploads", ""), nil, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	defer discard(resp.Body)
	return location(resp)
}

// location is where a registry wants the next request of an upload.
func location(resp *http.Response) (*url.URL, error) {
	u, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("begin an upload: %w", err)
	}
	if err := mayLead(resp.Request.URL, u); err != nil {
		return nil, fmt.Errorf("begin an upload: %w", err)
	}
	return u, nil
}
