package merge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/registry"
)

// Push carries a plan out: children first, then the index by its digest, then
// signatures, then the tags in their order. When it fails nothing but digests
// was written, or, with a *TagError, some of the tags. To do it again goes on
// where it stopped.
func (m *Merger) Push(ctx context.Context, p *Plan) error {
	for _, repo := range repositories(p.request.Targets) {
		if err := m.fill(ctx, p, repo); err != nil {
			return err
		}
	}
	return m.tag(ctx, p.request.Targets, node{desc: p.Index.Descriptor, raw: p.Index.Raw})
}

// repositories are the targets' repositories, each once, in order.
func repositories(targets []Target) (all []string) {
	for _, t := range targets {
		if !slices.Contains(all, t.Repository) {
			all = append(all, t.Repository)
		}
	}
	return all
}

// fill brings everything but tags into a repository.
func (m *Merger) fill(ctx context.Context, p *Plan, repo string) error {
	to, err := m.Registry.Pusher(repo)
	if err != nil {
		return err
	}
	if err := m.children(ctx, p, to); err != nil {
		return err
	}
	idx := registry.Manifest{Type: p.Index.Descriptor.MediaType, Raw: p.Index.Raw}
	if p.request.Index.Subject != nil {
		_, err = to.Attach(ctx, idx)
	} else {
		_, err = to.PushByDigest(ctx, idx)
	}
	if err != nil {
		return err
	}
	m.report(Step{What: "pushed", Name: repo, Digest: p.Index.Descriptor.Digest})
	return m.sign(ctx, p, repo)
}

// children pushes the images side by side, and what refers to them after them:
// some registries insist that the subject is there.
func (m *Merger) children(ctx context.Context, p *Plan, to *registry.Pusher) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, mb := range p.members {
		if mb.entry.IsImage() {
			g.Go(func() error { return m.child(gctx, mb, to) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, mb := range p.members {
		if mb.entry.IsImage() {
			continue
		}
		var err error
		if mb.referrer {
			if mb, err = withSubject(mb, p.about(mb)); err != nil {
				return err
			}
		}
		if err := m.child(ctx, mb, to); err != nil {
			return err
		}
	}
	if !p.request.Referrers {
		return nil
	}
	for _, mb := range p.members {
		if err := m.copyReferrers(ctx, mb.node, to); err != nil {
			return err
		}
	}
	return nil
}

// about is the image that an attestation is about.
func (p *Plan) about(mb member) v1.Descriptor {
	for _, other := range p.members {
		if other.node.desc.Digest.String() == mb.entry.About() {
			return v1.Descriptor{MediaType: other.node.mediaType(), Digest: other.node.desc.Digest, Size: other.node.desc.Size}
		}
	}
	return v1.Descriptor{}
}

func (m *Merger) child(ctx context.Context, mb member, to *registry.Pusher) error {
	if mb.node.at.repository() == to.Repository() && mb.node.desc.Digest == mb.entry.Descriptor.Digest && !mb.referrer && sameBytes(mb) {
		return nil // it was read from there
	}
	if err := push(ctx, mb.node, to); err != nil {
		return fmt.Errorf("%s: %w", mb.entry.Source, err)
	}
	return nil
}

// sameBytes tells whether a member is what its place has, not converted.
func sameBytes(mb member) bool {
	r, ok := mb.node.at.(repository)
	if !ok {
		return false
	}
	if r.doc.Descriptor.Digest == mb.node.desc.Digest {
		return true
	}
	return r.doc.Index != nil && slices.ContainsFunc(r.doc.Index.Manifests, func(d v1.Descriptor) bool { return d.Digest == mb.node.desc.Digest })
}

// push sends a manifest with all below it, by digest.
func push(ctx context.Context, n node, to *registry.Pusher) error {
	t, err := n.taggable(ctx)
	if err != nil {
		return err
	}
	if hasSubject(n.raw) {
		_, err = to.Attach(ctx, t)
		return err
	}
	_, err = to.PushByDigest(ctx, t)
	return err
}

func hasSubject(raw []byte) bool {
	var m struct {
		Subject *v1.Descriptor `json:"subject"`
	}
	return json.Unmarshal(raw, &m) == nil && m.Subject != nil
}

// copyReferrers sends what refers to a manifest after it, and what refers to
// that, and so on.
func (m *Merger) copyReferrers(ctx context.Context, n node, to *registry.Pusher) error {
	if n.at.repository() == to.Repository() {
		return nil
	}
	err := eachReferrer(ctx, n, deepest, func(c node) error {
		if err := push(ctx, c, to); err != nil {
			return err
		}
		return m.copyCosignTags(ctx, c, to)
	})
	if err != nil {
		return err
	}
	return m.copyCosignTags(ctx, n, to)
}

// copyCosignTags copies what cosign puts beside a manifest under tags of its
// own, and adds to what the destination has already.
func (m *Merger) copyCosignTags(ctx context.Context, n node, to *registry.Pusher) error {
	from := n.at.repository()
	if from == "" {
		return nil
	}
	for _, kind := range []string{"sig", "att", "sbom"} {
		tag := fmt.Sprintf(":%s-%s.%s", n.desc.Digest.Algorithm, n.desc.Digest.Hex, kind)
		doc, err := m.Registry.Document(ctx, from+tag)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		dest, err := m.Registry.Pusher(to.Repository() + tag)
		if err != nil {
			return err
		}
		if _, err := dest.AppendLayers(ctx, layersOf(ctx, doc)...); err != nil {
			return err
		}
	}
	return nil
}

// layersOf are the layers of an artifact, to be added to another one.
func layersOf(ctx context.Context, doc *registry.Document) (all []registry.AnnotatedLayer) {
	if doc.Image == nil {
		return nil
	}
	for _, d := range doc.Image.Layers {
		all = append(all, registry.AnnotatedLayer{
			Layer: &storedBlob{ctx, repository{doc}, d}, Annotations: d.Annotations,
		})
	}
	return all
}

// tag moves the tags to a manifest, one after another.
func (m *Merger) tag(ctx context.Context, targets []Target, n node) error {
	var moved []string
	for i, t := range targets {
		if t.Tag == "" {
			continue
		}
		if err := m.move(ctx, t, n); err != nil {
			e := &TagError{Tag: t.String(), Moved: moved, Err: err}
			for _, left := range targets[i:] {
				e.Left = append(e.Left, left.String())
			}
			return e
		}
		moved = append(moved, t.String())
		m.report(Step{What: "tagged", Name: t.String(), Digest: n.desc.Digest})
	}
	return nil
}

func (m *Merger) move(ctx context.Context, t Target, n node) error {
	if err := m.tagUnmoved(ctx, t, n.desc.Digest); err != nil {
		return err
	}
	to, err := m.Registry.Pusher(t.String())
	if err != nil {
		return err
	}
	_, err = to.Push(ctx, registry.Manifest{Type: n.mediaType(), Raw: n.raw})
	return err
}
