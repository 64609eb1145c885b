package merge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/registry"
)

// jobs is how many sources, or children, are looked at side by side.
const jobs = 4

// Plan finds the sources, takes them apart and checks everything that can be
// checked without writing. Whatever is wrong with the sources is told at once.
func (m *Merger) Plan(ctx context.Context, r Request) (*Plan, error) {
	members, err := m.collect(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Replace {
		members = replaced(members)
	}
	if members, err = without(members, r.Without); err != nil {
		return nil, err
	}
	members = attested(members, r.Attestations)
	if r.Convert {
		if members, err = convertAll(ctx, members, r.Index.Format); err != nil {
			return nil, err
		}
	}
	var entries []index.Entry
	for _, mb := range members {
		if !mb.referrer {
			entries = append(entries, mb.entry)
		}
	}
	idx, err := index.Make(entries, r.Index)
	if err != nil {
		return nil, err
	}
	p := &Plan{Index: idx, request: r, members: ordered(members, idx)}
	return p, errors.Join(m.signedChildren(ctx, p), m.tagsUnmoved(ctx, p))
}

// ordered brings members into the order of the index; referrers follow.
func ordered(members []member, idx *index.Index) []member {
	rank := map[v1.Hash]int{}
	for i, e := range idx.Entries {
		rank[e.Descriptor.Digest] = i + 1
	}
	last := len(idx.Entries) + 1
	seen := map[v1.Hash]bool{}
	var out []member
	for _, mb := range members {
		if !seen[mb.node.desc.Digest] {
			seen[mb.node.desc.Digest] = true
			out = append(out, mb)
		}
	}
	slices.SortStableFunc(out, func(a, b member) int {
		return cmp.Compare(cmp.Or(rank[a.node.desc.Digest], last), cmp.Or(rank[b.node.desc.Digest], last))
	})
	return out
}

// collect opens all sources side by side.
func (m *Merger) collect(ctx context.Context, r Request) ([]member, error) {
	found := make([][]member, len(r.Sources))
	errs := make([]error, len(r.Sources))
	var told sync.Mutex
	var g errgroup.Group
	g.SetLimit(jobs)
	for i, s := range r.Sources {
		g.Go(func() error {
			n, err := m.open(ctx, s)
			if r.IgnoreMissing && errors.Is(err, registry.ErrNotFound) {
				told.Lock()
				defer told.Unlock()
				m.report(Step{What: "skipped", Name: s.Text, Why: err.Error()})
				return nil
			}
			if err == nil {
				found[i], err = expand(ctx, n, s, r.Only)
			}
			errs[i] = err
			return nil
		})
	}
	_ = g.Wait()
	return slices.Concat(found...), errors.Join(errs...)
}

// deepest is how far indexes in indexes are followed.
const deepest = 3

// expand takes a source apart.
func expand(ctx context.Context, n node, s Source, only []v1.Platform) ([]member, error) {
	idx, err := n.index()
	if err != nil {
		return nil, err
	}
	if idx == nil {
		mb, err := newMember(ctx, n, s, nil)
		if err != nil {
			return nil, err
		}
		return annotated([]member{mb}, s), nil
	}
	all, err := children(ctx, n, idx, s, deepest)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Text, err)
	}
	if s.Platform != nil {
		only = []v1.Platform{*s.Platform}
	}
	chosen := choosePlatforms(all, only)
	if len(only) > 0 && len(chosen) == 0 && s.Platform != nil {
		return nil, fmt.Errorf("source %s: %w %s", s.Text, registry.ErrNoPlatform, index.Name(*s.Platform))
	}
	return annotated(chosen, s), nil
}

func annotated(ms []member, s Source) []member {
	for i := range ms {
		d := &ms[i].entry.Descriptor
		if !ms[i].entry.IsImage() || len(s.Annotations) == 0 {
			continue
		}
		d.Annotations = maps.Clone(d.Annotations)
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		maps.Copy(d.Annotations, s.Annotations)
	}
	return ms
}

// children reads all entries of an index, those of indexes in it included.
func children(ctx context.Context, n node, idx *v1.IndexManifest, s Source, depth int) ([]member, error) {
	if depth == 0 {
		return nil, fmt.Errorf("indexes in indexes, more than %d deep", deepest)
	}
	found := make([][]member, len(idx.Manifests))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i, d := range idx.Manifests {
		g.Go(func() error {
			c, err := n.child(ctx, d)
			if err != nil {
				return err
			}
			inner, err := c.index()
			if err != nil {
				return err
			}
			if inner != nil {
				found[i], err = children(ctx, c, inner, s, depth-1)
				return err
			}
			mb, err := newMember(ctx, c, s, d.Platform)
			found[i] = []member{mb}
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(found...), err
}

// newMember makes a member of a manifest. listed is the platform that the index it
// comes from gives.
func newMember(ctx context.Context, n node, s Source, listed *v1.Platform) (member, error) {
	e := index.Entry{Source: s.Text, Descriptor: n.desc, Declared: listed}
	e.Descriptor.MediaType = n.mediaType()
	if listed != nil {
		e.Source = fmt.Sprintf("%s (%s)", s.Text, n.desc.Digest)
	}
	if listed == nil && s.Platform != nil {
		e.Declared = s.Platform
	}
	mb := member{entry: e, node: n}
	if !e.IsImage() {
		return mb, nil
	}
	c, err := n.config(ctx)
	if err != nil || c == nil {
		return mb, err
	}
	mb.entry.Config = &v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant, OSVersion: c.OSVersion, OSFeatures: c.OSFeatures}
	mb.entry.Labels = c.Config.Labels
	return mb, nil
}

// choosePlatforms takes the images of some platforms, and what is about them.
func choosePlatforms(all []member, only []v1.Platform) []member {
	if len(only) == 0 {
		return all
	}
	taken := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(all), func(m member) bool {
		e := m.entry
		if !e.IsImage() {
			// Attestations stand after the images that they are about.
			return !taken[e.About()]
		}
		p := m.platform()
		keep := p != nil && slices.ContainsFunc(only, func(want v1.Platform) bool { return index.Covers(want, *p) })
		taken[e.Descriptor.Digest.String()] = keep
		return !keep
	})
}

// platform is what an image is for; nil where nobody says it.
func (m member) platform() *v1.Platform { return cmp.Or(m.entry.Declared, m.entry.Config) }

// replaced leaves out images for whose platform a later one is there.
func replaced(members []member) []member {
	last := map[string]int{}
	for i, m := range members {
		if p := m.platform(); p != nil && m.entry.IsImage() {
			last[index.Name(*p)] = i
		}
	}
	var out []member
	for i, m := range members {
		if p := m.platform(); p != nil && m.entry.IsImage() && last[index.Name(*p)] != i {
			continue
		}
		out = append(out, m)
	}
	return out
}

// without leaves out images by platform or digest.
func without(members []member, what []string) ([]member, error) {
	var errs []error
	for _, w := range what {
		p, perr := index.ParsePlatform(w)
		before := len(members)
		members = slices.DeleteFunc(members, func(m member) bool {
			have := m.platform()
			return m.node.desc.Digest.String() == w || perr == nil && m.entry.IsImage() && have != nil && index.Covers(p, *have)
		})
		if len(members) == before {
			errs = append(errs, fmt.Errorf("remove %s: the index has no such platform or digest: %w", w, registry.ErrNoPlatform))
		}
	}
	return members, errors.Join(errs...)
}

// attested treats attestation entries as the user wants. One that is about no
// image of the index goes with the image.
func attested(members []member, how Attestations) []member {
	images := map[string]bool{}
	for _, m := range members {
		if m.entry.IsImage() {
			images[m.entry.Descriptor.Digest.String()] = true
		}
	}
	var out []member
	for _, m := range members {
		switch {
		case m.entry.IsImage():
		case how == Drop || !images[m.entry.About()]:
			continue
		case how == AsReferrers:
			m.referrer = true
		}
		out = append(out, m)
	}
	return out
}

// withSubject makes of an attestation of BuildKit's older form one that refers
// to its image. One that does so already keeps its digest.
func withSubject(m member, subject v1.Descriptor) (member, error) {
	var doc v1.Manifest
	if err := json.Unmarshal(m.node.raw, &doc); err != nil {
		return m, err
	}
	if doc.Subject != nil {
		return m, nil
	}
	doc.Subject = &v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	doc.ArtifactType = attestationType
	return m.rewritten(doc)
}

// attestationType is what BuildKit calls its attestation manifests.
const attestationType = "application/vnd.docker.attestation.manifest.v1+json"

// rewritten gives a member another manifest.
func (m member) rewritten(doc v1.Manifest) (member, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return m, err
	}
	d := m.node.desc
	d.MediaType = doc.MediaType
	if d.Digest, d.Size, err = v1.SHA256(bytesReader(raw)); err != nil {
		return m, err
	}
	m.node.desc, m.node.raw = d, raw
	m.entry.Descriptor.MediaType, m.entry.Descriptor.Digest, m.entry.Descriptor.Size = d.MediaType, d.Digest, d.Size
	return m, nil
}

// signedChildren asks the verifier about every image, where it is.
func (m *Merger) signedChildren(ctx context.Context, p *Plan) error {
	if m.Verifier == nil {
		return nil
	}
	var errs []error
	for _, mb := range p.members {
		if !mb.entry.IsImage() || mb.referrer {
			continue
		}
		repo := mb.node.at.repository()
		if repo == "" {
			errs = append(errs, fmt.Errorf("%s: %w: it is in no registry, where signatures are", mb.entry.Source, ErrUnsigned))
			continue
		}
		if err := m.Verifier.Verify(ctx, repo, mb.node.desc.Digest); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: %w", mb.entry.Source, ErrUnsigned, err))
		}
	}
	return errors.Join(errs...)
}

// tagsUnmoved checks what the tags say now.
func (m *Merger) tagsUnmoved(ctx context.Context, p *Plan) error {
	var errs []error
	for _, t := range p.request.Targets {
		errs = append(errs, m.tagUnmoved(ctx, t, p.Index.Descriptor.Digest))
	}
	return errors.Join(errs...)
}

func (m *Merger) tagUnmoved(ctx context.Context, t Target, digest v1.Hash) error {
	if t.WasDigest == "" || t.Tag == "" {
		return nil
	}
	doc, err := m.Registry.Document(ctx, t.String())
	now := NoDigest
	switch {
	case err == nil:
		now = doc.Descriptor.Digest.String()
	case !errors.Is(err, registry.ErrNotFound):
		return err
	}
	// It was moved already, by an earlier run of the same.
	if now == t.WasDigest || now == digest.String() {
		return nil
	}
	return fmt.Errorf("tag %s: %w: it names %s, and should name %s", t, ErrTagMoved, now, t.WasDigest)
}
