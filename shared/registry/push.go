package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

// Pusher pushes to one destination. It is safe for concurrent use. Pushers of
// one client share what they know: a blob goes into a repository once.
type Pusher struct {
	c   *Client
	ref reference
}

// Pusher makes a pusher to "[host/]repository[:tag]"; the tag defaults to
// latest. Maps and mirrors are for pulling only. Nothing is sent yet.
func (c *Client) Pusher(dest string) (*Pusher, error) {
	r, err := parseReference(dest)
	if err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	if r.digest != "" {
		return nil, fmt.Errorf("destination: reference %q: a destination has a tag; its digest is known after the push", dest)
	}
	return &Pusher{c, r}, nil
}

// Ref is the destination in full: docker.io/library/x:tag.
func (p *Pusher) Ref() string { return p.ref.String() }

// Repository is the destination without its tag.
func (p *Pusher) Repository() string { return p.ref.place.String() }

func (p *Pusher) session(ctx context.Context, from string) (*session, error) {
	return p.c.session(ctx, sessionKey{dir: push, at: p.ref.place, from: from})
}

func (p *Pusher) failure(err error) error { return failure("push", p.ref.String(), p.ref.place, err) }

// Check tells whether pushing is allowed, by beginning an upload and giving it
// up. A token alone proves nothing: some registries give one to everybody.
func (p *Pusher) Check(ctx context.Context) error {
	s, err := p.session(ctx, "")
	if err != nil {
		return p.failure(err)
	}
	u, err := s.beginUpload(ctx)
	if err != nil {
		return p.failure(err)
	}
	// A courtesy; a registry that does not know it forgets the upload by itself.
	ctx, cancel := context.WithTimeout(once(ctx), 5*time.Second)
	defer cancel()
	if resp, err := s.do(ctx, http.MethodDelete, u, nil, http.StatusNoContent, http.StatusOK, http.StatusAccepted); err == nil {
		discard(resp.Body)
	}
	return nil
}

// Push sends an image, an index with all below it, or a mere manifest whose
// blobs are there: blobs first, then manifests, the tag last. It returns the
// manifest's digest. A tag that has this digest already is left alone, so that
// pushing again to an immutable tag succeeds.
func (p *Pusher) Push(ctx context.Context, t remote.Taggable) (v1.Hash, error) {
	return p.put(ctx, t, true)
}

// PushByDigest is Push without the tag.
func (p *Pusher) PushByDigest(ctx context.Context, t remote.Taggable) (v1.Hash, error) {
	return p.put(ctx, t, false)
}

func (p *Pusher) put(ctx context.Context, t remote.Taggable, tagged bool) (v1.Hash, error) {
	raw, err := t.RawManifest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("push %s: read the manifest: %w", p.ref, err)
	}
	digest, err := digestOf("sha256", raw)
	if err != nil {
		return v1.Hash{}, err
	}
	s, err := p.session(ctx, "")
	if err != nil {
		return digest, p.failure(err)
	}
	id := digest.String()
	if tagged {
		id = p.ref.tag
	}
	if s.has(ctx, id, digest) {
		return digest, nil
	}
	if err := p.below(ctx, t); err != nil {
		return digest, p.failure(err)
	}
	return digest, p.failure(s.commit(ctx, id, t, digest))
}

// jobs is how many uploads of one image go on at once.
const jobs = 4

// below sends what the manifest refers to.
func (p *Pusher) below(ctx context.Context, t remote.Taggable) error {
	switch t := t.(type) {
	case v1.Image:
		return p.blobs(ctx, t)
	case v1.ImageIndex:
		children, err := partial.Manifests(t)
		if err != nil {
			return fmt.Errorf("read the index: %w", err)
		}
		for _, child := range children {
			if err := p.child(ctx, child); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Pusher) child(ctx context.Context, child partial.Describable) error {
	switch child := child.(type) {
	case remote.Taggable:
		_, err := p.put(ctx, child, false)
		return err
	case v1.Layer:
		return p.Upload(ctx, child)
	}
	d, err := child.Digest()
	if err != nil {
		return err
	}
	return fmt.Errorf("the index has an entry %s that it cannot give", d)
}

func (p *Pusher) blobs(ctx context.Context, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("read the layers: %w", err)
	}
	conf, err := partial.ConfigLayer(img)
	if err != nil {
		return fmt.Errorf("read the config: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, l := range append(layers[:len(layers):len(layers)], conf) {
		g.Go(func() error { return p.Upload(ctx, l) })
	}
	return g.Wait()
}

// has tells whether id names digest already. It is asked to save work, so any
// failure means no.
func (s *session) has(ctx context.Context, id string, digest v1.Hash) bool {
	resp, err := s.do(ctx, http.MethodHead, s.url("manifests", id), acceptHeader(), http.StatusOK)
	if err != nil {
		return false
	}
	discard(resp.Body)
	return resp.Header.Get("Docker-Content-Digest") == digest.String()
}

// commit puts a manifest, and the referrers' fallback tag where its subject
// needs one.
func (s *session) commit(ctx context.Context, id string, t remote.Taggable, digest v1.Hash) error {
	// The session's transport authenticates and repeats: go-containerregistry is
	// handed it as one that has logged in, and told not to repeat on top.
	rt, err := transport.FromToken(s.repo.Registry, authn.Anonymous, s.rt, &transport.Challenge{}, nil)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(remote.WithTransport(rt), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	if err != nil {
		return err
	}
	ref := name.Reference(s.repo.Tag(id))
	if _, err := v1.NewHash(id); err == nil {
		ref = s.repo.Digest(id)
	}
	for attempt := 0; ; attempt++ {
		err = pusher.Put(ctx, ref, t)
		// The registry may have stored it though the answer was lost, or
		// refuse to set an immutable tag to what it is.
		if err == nil || ctx.Err() == nil && s.has(ctx, id, digest) {
			return nil
		}
		if attempt >= s.c.retry.extra || !blobsUnknownYet(err) {
			return err
		}
		if err := sleep(ctx, s.c.retry.pause(attempt)); err != nil {
			return err
		}
	}
}

// blobsUnknownYet tells whether a registry did not see blobs that were just
// uploaded: some are consistent only after a while.
func blobsUnknownYet(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return false
	}
	for _, d := range te.Errors {
		if d.Code == transport.ManifestBlobUnknownErrorCode || d.Code == transport.BlobUnknownErrorCode {
			return true
		}
	}
	return false
}
