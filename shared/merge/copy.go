package merge

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
)

// CopyRequest is a copy of one image or index as it is, digest and all.
type CopyRequest struct {
	Source  Source
	Targets []Target
	// Referrers takes along what refers to it, and to what is in it.
	Referrers bool
	// DryRun finds and checks, and writes nothing.
	DryRun bool
}

// Copy brings what a source names into other repositories, children first, its
// referrers after it, tags last. It returns its descriptor and bytes.
func (m *Merger) Copy(ctx context.Context, r CopyRequest) (v1.Descriptor, []byte, error) {
	n, err := m.open(ctx, r.Source)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	for _, t := range r.Targets {
		if err := m.tagUnmoved(ctx, t, n.desc.Digest); err != nil {
			return n.desc, n.raw, err
		}
	}
	if r.DryRun {
		return n.desc, n.raw, nil
	}
	for _, repo := range repositories(r.Targets) {
		to, err := m.Registry.Pusher(repo)
		if err != nil {
			return n.desc, n.raw, err
		}
		if err := push(ctx, n, to); err != nil {
			return n.desc, n.raw, err
		}
		m.report(Step{What: "pushed", Name: repo, Digest: n.desc.Digest})
		if r.Referrers {
			if err := m.copyAllReferrers(ctx, n, to, deepest); err != nil {
				return n.desc, n.raw, err
			}
		}
	}
	return n.desc, n.raw, m.tag(ctx, r.Targets, n)
}

// copyAllReferrers copies the referrers of a manifest and of what is below it.
func (m *Merger) copyAllReferrers(ctx context.Context, n node, to *registry.Pusher, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%s: indexes in indexes, more than %d deep", n.desc.Digest, deepest)
	}
	if err := m.copyReferrers(ctx, n, to); err != nil {
		return err
	}
	idx, err := n.index()
	if err != nil || idx == nil {
		return err
	}
	for _, d := range idx.Manifests {
		c, err := n.child(ctx, d)
		if err != nil {
			return err
		}
		if err := m.copyAllReferrers(ctx, c, to, depth-1); err != nil {
			return err
		}
	}
	return nil
}
