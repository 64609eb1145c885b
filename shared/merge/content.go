package merge

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Content is a plan's index with all below it, and what refers to its images:
// what Push would bring into a registry, but for signatures that cosign keeps
// under tags. Blobs are read when somebody wants them. The context is that of
// the reading.
func (m *Merger) Content(ctx context.Context, p *Plan) (v1.ImageIndex, []v1.Image, error) {
	x := &mergedIndex{storedIndex{ctx: ctx, n: node{desc: p.Index.Descriptor, raw: p.Index.Raw}}, map[v1.Hash]node{}}
	var about []v1.Image
	add := func(n node) error {
		t, err := n.taggable(ctx)
		if err != nil {
			return err
		}
		img, ok := t.(v1.Image)
		if !ok {
			return fmt.Errorf("%s refers to an image and is an index, which is not copied", n.desc.Digest)
		}
		about = append(about, img)
		return nil
	}
	for _, mb := range p.members {
		if !mb.referrer {
			x.entries[mb.node.desc.Digest] = mb.node
			continue
		}
		mb, err := withSubject(mb, p.about(mb))
		if err == nil {
			err = add(mb.node)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", mb.entry.Source, err)
		}
	}
	if p.request.Referrers {
		for _, mb := range p.members {
			if err := eachReferrer(ctx, mb.node, deepest, add); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", mb.entry.Source, err)
			}
		}
	}
	var err error
	x.m, err = x.n.index()
	return x, about, err
}

// eachReferrer calls do with what refers to a manifest, and what refers to that,
// and so on.
func eachReferrer(ctx context.Context, n node, depth int, do func(node) error) error {
	if depth == 0 {
		return nil
	}
	list, err := n.at.referrers(ctx, n.desc)
	if err != nil {
		return err
	}
	for _, d := range list {
		c, err := n.child(ctx, d)
		if err != nil {
			return err
		}
		if err := do(c); err != nil {
			return err
		}
		if err := eachReferrer(ctx, c, depth-1, do); err != nil {
			return err
		}
	}
	return nil
}

// mergedIndex is the index of a plan, whose entries lie in different places.
type mergedIndex struct {
	storedIndex
	entries map[v1.Hash]node
}

// Image gives an entry. Plans take indexes apart, so that each is an image or an artifact.
func (x *mergedIndex) Image(h v1.Hash) (v1.Image, error) {
	n, ok := x.entries[h]
	if !ok {
		return nil, fmt.Errorf("manifest %s: not in index %s", h, x.n.desc.Digest)
	}
	t, err := n.taggable(x.ctx)
	if err != nil {
		return nil, err
	}
	if img, ok := t.(v1.Image); ok {
		return img, nil
	}
	return nil, fmt.Errorf("manifest %s: it is no image", h)
}
