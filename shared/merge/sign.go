package merge

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// signedAtOnce is how many manifests are signed side by side. Signing is mostly waiting: for the registry, and after
// each change of a list for others who change it, too.
const signedAtOnce = 8

// Each does something to manifests, several side by side, and to each only once: an image may stand in an index for
// several platforms. The first that fails ends the others.
func Each(ctx context.Context, all []v1.Descriptor, do func(context.Context, v1.Descriptor) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(signedAtOnce)
	seen := map[v1.Hash]bool{}
	for _, d := range all {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			g.Go(func() error { return do(ctx, d) })
		}
	}
	return g.Wait()
}

// sign has the index signed, and its images.
func (m *Merger) sign(ctx context.Context, p *Plan, repo string) error {
	if m.Signer == nil {
		return nil
	}
	all := []v1.Descriptor{p.Index.Descriptor}
	for _, e := range p.Index.Entries {
		if e.IsImage() && !p.request.IndexOnly {
			all = append(all, e.Descriptor)
		}
	}
	err := Each(ctx, all, func(ctx context.Context, d v1.Descriptor) error {
		if err := m.Signer.Sign(ctx, repo, d); err != nil {
			return fmt.Errorf("sign %s@%s: %w; no tag was moved", repo, d.Digest, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range all {
		m.report(Step{What: "signed", Name: repo, Digest: d.Digest})
	}
	return nil
}
