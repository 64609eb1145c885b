package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func (p *Pusher) upload(ctx context.Context, l v1.Layer, digest v1.Hash) error {
	s, err := p.session(ctx, "")
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err := p.tryUpload(ctx, s, l, digest)
		if err == nil {
			p.c.seen.add(p.ref.place, digest)
			return nil
		}
		if attempt >= p.c.retry.extra || ctx.Err() != nil || !mayUploadAgain(err) || p.c.retry.held(p.ref.host) > p.c.retry.obey {
			return err
		}
		if err := sleep(ctx, p.c.retry.pause(attempt)); err != nil {
			return err
		}
	}
}

// mayUploadAgain: an upload the registry lost track of begins anew as well.
func mayUploadAgain(err error) bool {
	if kindOf(err) == ErrUnavailable {
		return true
	}
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return false
	}
	for _, d := range te.Errors {
		if d.Code == transport.BlobUploadUnknownErrorCode || d.Code == transport.BlobUploadInvalidErrorCode {
			return true
		}
	}
	return te.StatusCode == http.StatusRequestedRangeNotSatisfiable
}

// tryUpload does it once.
func (p *Pusher) tryUpload(ctx context.Context, s *session, l v1.Layer, digest v1.Hash) error {
	resp, err := s.do(ctx, http.MethodHead, s.url("blobs", digest.String()), nil, http.StatusOK)
	if err == nil {
		discard(resp.Body)
		return nil
	}
	// Some registries forbid to look, and allow to push: the upload will tell.
	if k := kindOf(err); k != ErrNotFound && k != ErrDenied {
		return err
	}
	at, err := p.mount(ctx, l, digest)
	if err == nil && at == nil {
		return nil
	}
	if err != nil || at == nil {
		if at, err = s.beginUpload(ctx); err != nil {
			return err
		}
	}
	return s.sendBlob(ctx, at, l, digest)
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

// sendBlob sends a blob in one piece.
func (s *session) sendBlob(ctx context.Context, at *url.URL, l v1.Layer, digest v1.Hash) error {
	q := at.Query()
	q.Set("digest", digest.String())
	at.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(once(ctx), http.MethodPut, at.String(), nil)
	if err != nil {
		return err
	}
	src := &source{open: l.Compressed}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Body = src.body()
	req.GetBody = func() (io.ReadCloser, error) { return src.body(), nil }
	if req.ContentLength, err = l.Size(); err != nil {
		return err
	}
	if req.ContentLength == 0 {
		// To net/http, a body of length 0 is one of unknown length.
		req.Body, req.GetBody = http.NoBody, func() (io.ReadCloser, error) { return http.NoBody, nil }
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return src.blame(err)
	}
	defer discard(resp.Body)
	return transport.CheckError(resp, http.StatusCreated, http.StatusOK, http.StatusNoContent)
}
