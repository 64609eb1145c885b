package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// mostPages is how many pages of a list of referrers are read.
const mostPages = 100

// Referrers lists what refers to the document by its subject field, in the
// registry's order. A registry without the referrers API is asked for the
// fallback tag instead (distribution specification, "Referrers Tag Schema").
// Only an answer that says so means that there is none; all else is an error.
func (d *Document) Referrers(ctx context.Context) ([]v1.Descriptor, error) {
	list, _, err := d.s.referrers(ctx, d.Descriptor.Digest)
	if err != nil {
		return nil, failure("list referrers of", d.Repository+"@"+d.Descriptor.Digest.String(), d.s.at, err)
	}
	return list, nil
}

// referrers also tells whether the registry has the API.
func (s *session) referrers(ctx context.Context, digest v1.Hash) (list []v1.Descriptor, api bool, err error) {
	next := s.url("referrers", digest.String())
	for range mostPages {
		page, following, err := s.referrersPage(ctx, next)
		if hasNoReferrersAPI(err) && len(list) == 0 {
			break
		}
		if err != nil {
			return nil, true, err
		}
		list = append(list, page...)
		if following == nil {
			return list, true, nil
		}
		next = following
	}
	if len(list) > 0 {
		return nil, true, fmt.Errorf("%w: more than %d pages of referrers", ErrIntegrity, mostPages)
	}
	idx, err := s.fallbackIndex(ctx, digest)
	if err != nil || idx == nil {
		return nil, false, err
	}
	return idx.Manifests, false, nil
}

// hasNoReferrersAPI knows the ways in which registries say that they do not know the address.
func hasNoReferrersAPI(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	return ok && slices.Contains([]int{http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented}, te.StatusCode)
}

func (s *session) referrersPage(ctx context.Context, at *url.URL) (list []v1.Descriptor, next *url.URL, err error) {
	resp, err := s.do(ctx, http.MethodGet, at, http.Header{"Accept": {string(types.OCIImageIndex)}}, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer discard(resp.Body)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, longestDocument+1))
	if err != nil {
		return nil, nil, &netError{fmt.Errorf("read the list of referrers: %w", err)}
	}
	if len(raw) > longestDocument {
		return nil, nil, fmt.Errorf("%w: the list of referrers has more than %d bytes", ErrIntegrity, longestDocument)
	}
	idx, err := readReferrers(raw)
	if err != nil {
		return nil, nil, err
	}
	next, err = following(resp)
	return idx.Manifests, next, err
}

func readReferrers(raw []byte) (*v1.IndexManifest, error) {
	var idx v1.IndexManifest
	if err := json.Unmarshal(raw, &idx); err != nil {
		return nil, fmt.Errorf("%w: the list of referrers is no index: %w", ErrIntegrity, err)
	}
	if idx.MediaType != types.OCIImageIndex || idx.SchemaVersion != 2 {
		return nil, fmt.Errorf("%w: the list of referrers is no index but a %q", ErrIntegrity, idx.MediaType)
	}
	for _, m := range idx.Manifests {
		if err := checkDescriptor(m); err != nil {
			return nil, err
		}
	}
	return &idx, nil
}

// following is the address of the next page (RFC 5988).
func following(resp *http.Response) (*url.URL, error) {
	link := resp.Header.Get("Link")
	target, params, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(params, `rel="next"`) && !strings.Contains(params, "rel=next") {
		return nil, nil
	}
	u, err := resp.Request.URL.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%w: the next page of referrers: %w", ErrIntegrity, err)
	}
	return u, mayLead(resp.Request.URL, u)
}

// fallbackTag is where the referrers of a manifest are listed for registries without the API.
func fallbackTag(digest v1.Hash) string { return digest.Algorithm + "-" + digest.Hex }

// fallbackIndex is nil where nothing is listed.
func (s *session) fallbackIndex(ctx context.Context, digest v1.Hash) (*v1.IndexManifest, error) {
	raw, _, err := s.fetch(ctx, fallbackTag(digest))
	if kindOf(err) == ErrNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readReferrers(raw)
}

// Attach pushes a manifest that refers to another one by its subject field, by
// digest, blobs first, and sees to it that it is found there: where the
// registry does not do that itself, the fallback tag is amended, and others who
// do the same at that time lose nothing by it. The subject should be in the
// repository already: some registries insist.
func (p *Pusher) Attach(ctx context.Context, t remote.Taggable) (v1.Descriptor, error) {
	entry, subject, err := describeReferrer(t)
	if err != nil {
		return entry, p.failure(err)
	}
	s, err := p.session(ctx, "")
	if err != nil {
		return entry, p.failure(err)
	}
	if err := p.below(ctx, t); err != nil {
		return entry, p.failure(err)
	}
	listed, err := s.putReferrer(ctx, t, entry)
	if err != nil || listed {
		return entry, p.failure(err)
	}
	list, api, err := s.referrers(ctx, subject)
	switch {
	case err != nil:
		return entry, p.failure(fmt.Errorf("%s is pushed, but whether it is found from %s is not known: %w", entry.Digest, subject, err))
	case api && !listsDigest(list, entry.Digest):
		return entry, p.failure(fmt.Errorf("%s is pushed, but the registry does not list it as a referrer of %s", entry.Digest, subject))
	case api:
		return entry, nil
	}
	tag := &Pusher{p.c, reference{place: p.ref.place, tag: fallbackTag(subject)}}
	_, err = tag.Amend(ctx, func(old *Document) (remote.Taggable, error) { return addReferrer(old, entry) })
	return entry, p.failure(err)
}

// describeReferrer gives a manifest's descriptor as a list of referrers has it:
// with the artifact type and all annotations.
func describeReferrer(t remote.Taggable) (entry v1.Descriptor, subject v1.Hash, err error) {
	raw, err := t.RawManifest()
	if err != nil {
		return entry, subject, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return entry, subject, fmt.Errorf("read the manifest: %w", err)
	}
	if m.Subject == nil {
		return entry, subject, errors.New("the manifest refers to no other")
	}
	entry = v1.Descriptor{MediaType: m.MediaType, Size: int64(len(raw)), ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if entry.ArtifactType == "" {
		entry.ArtifactType = string(m.Config.MediaType)
	}
	entry.Digest, err = digestOf("sha256", raw)
	return entry, m.Subject.Digest, err
}

// putReferrer tells whether the registry takes care of the subject itself.
func (s *session) putReferrer(ctx context.Context, t remote.Taggable, entry v1.Descriptor) (listed bool, err error) {
	raw, err := t.RawManifest()
	if err != nil {
		return false, err
	}
	resp, err := s.putManifest(ctx, entry.Digest.String(), entry.MediaType, raw)
	if err != nil {
		return false, err
	}
	return resp.Get("OCI-Subject") != "", nil
}

func listsDigest(list []v1.Descriptor, digest v1.Hash) bool {
	return slices.ContainsFunc(list, func(d v1.Descriptor) bool { return d.Digest == digest })
}

// addReferrer makes the fallback tag's next index; nil when the entry is there.
func addReferrer(old *Document, entry v1.Descriptor) (remote.Taggable, error) {
	idx := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	if old != nil {
		var err error
		if idx, err = readReferrers(old.Raw); err != nil {
			return nil, err
		}
		if listsDigest(idx.Manifests, entry.Digest) {
			return nil, nil
		}
	}
	idx.Manifests = append(idx.Manifests, entry)
	slices.SortFunc(idx.Manifests, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	raw, err := json.Marshal(idx)
	return Manifest{Type: types.OCIImageIndex, Raw: raw}, err
}
