package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Manifest is a mere manifest to push; what it refers to is there already.
type Manifest struct {
	Type types.MediaType
	Raw  []byte
}

// RawManifest gives the bytes.
func (m Manifest) RawManifest() ([]byte, error) { return m.Raw, nil }

// MediaType gives the type to push it as.
func (m Manifest) MediaType() (types.MediaType, error) { return m.Type, nil }

// The pause after which Amend looks again: several times what a change took,
// and never less than settle.
const (
	settle      = 200 * time.Millisecond
	mostAmends  = 40
	settleTimes = 4
)

// Amend changes what the destination's tag says, and lets no one lose who does
// the same meanwhile. change makes the next manifest of the present one (nil
// where the tag is not set), or returns nil when there is nothing to change; it
// may be called many times.
//
// Registries have no way to write only if nobody else wrote, so that of two who
// read the same, the second to write removes the first one's work. Amend looks
// again after a pause in which the other has written, and repeats its change
// until it stays. What change adds should have been uploaded before: the pause
// grows with the time from reading to writing.
func (p *Pusher) Amend(ctx context.Context, change func(old *Document) (remote.Taggable, error)) (v1.Hash, error) {
	s, err := p.session(ctx, "")
	if err != nil {
		return v1.Hash{}, p.failure(err)
	}
	for range mostAmends {
		start := time.Now()
		old, err := p.present(ctx, s)
		if err != nil {
			return v1.Hash{}, p.failure(err)
		}
		next, err := change(old)
		if err != nil {
			return v1.Hash{}, p.failure(err)
		}
		if next == nil {
			if old == nil {
				return v1.Hash{}, nil
			}
			return old.Descriptor.Digest, nil
		}
		if err := p.below(ctx, next); err != nil {
			return v1.Hash{}, p.failure(err)
		}
		if err := s.putTag(ctx, p.ref.tag, next); err != nil {
			return v1.Hash{}, p.failure(err)
		}
		pause := max(settle, settleTimes*time.Since(start))
		if err := sleep(ctx, pause+rand.N(pause)); err != nil {
			return v1.Hash{}, p.failure(err)
		}
	}
	return v1.Hash{}, p.failure(fmt.Errorf("%w: others change the tag all the time; it did not stay as written after %d attempts", ErrUnavailable, mostAmends))
}

// present is what the tag says; nil where it is not set.
func (p *Pusher) present(ctx context.Context, s *session) (*Document, error) {
	d, err := s.manifest(ctx, p.ref.tag, nil)
	if kindOf(err) == ErrNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newDocument(p.ref.String(), s, d), nil
}

func (s *session) putTag(ctx context.Context, tag string, t remote.Taggable) error {
	raw, err := t.RawManifest()
	if err != nil {
		return err
	}
	mt, err := mediaTypeOf(t, raw)
	if err != nil {
		return err
	}
	_, err = s.putManifest(ctx, tag, mt, raw)
	return err
}

// mediaTypeOf is what the manifest calls itself, or is called by who made it.
func mediaTypeOf(t remote.Taggable, raw []byte) (types.MediaType, error) {
	if t, ok := t.(interface{ MediaType() (types.MediaType, error) }); ok {
		return t.MediaType()
	}
	d := &document{raw: raw}
	err := d.parse("")
	return d.desc.MediaType, err
}

// putManifest writes a manifest under a tag or its digest and returns the
// answer's headers. Unlike commit it leaves subjects to the caller.
func (s *session) putManifest(ctx context.Context, id string, mt types.MediaType, raw []byte) (http.Header, error) {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url("manifests", id).String(), bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	req.GetBody = body
	req.Header.Set("Content-Type", string(mt))
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer discard(resp.Body)
	return resp.Header, transport.CheckError(resp, http.StatusCreated, http.StatusOK, http.StatusAccepted)
}
