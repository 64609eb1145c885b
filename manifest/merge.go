package main

import (
	"context"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/export"
	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
	"github.com/strake-build/strake/shared/registry"
)

// merged is what came of a merge.
type merged struct {
	plan    *merge.Plan
	targets []merge.Target
}

// repositories are the targets' repositories, each once.
func (m *merged) repositories() (all []string) {
	for _, t := range m.targets {
		if !slices.Contains(all, t.Repository) {
			all = append(all, t.Repository)
		}
	}
	return all
}

// mergeOnly plans a merge and, unless it is for show, pushes it and writes the files.
func (c *command) mergeOnly(x *cli.Context, r merge.Request, refs []string) (*merged, error) {
	client, err := c.client(x, refs...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := setSubject(x, client, &r); err != nil {
		return nil, err
	}
	m := &merge.Merger{Registry: client, Report: c.step}
	if err := c.signing(x, client, m, &r); err != nil {
		return nil, err
	}
	plan, err := m.Plan(x.Context, r)
	if err != nil {
		return nil, err
	}
	for _, e := range plan.Index.Entries {
		c.log.Info().Str("source", e.Source).Str("digest", e.Descriptor.Digest.String()).Msg(entryName(e))
	}
	done := &merged{plan, r.Targets}
	if x.Bool("dry-run") {
		c.log.Info().Msgf("nothing is written (--dry-run); the index would be %s", plan.Index.Descriptor.Digest)
		return done, nil
	}
	if dir := x.String("oci-layout-path"); dir != "" {
		if err := saveLayout(x.Context, m, plan, dir, r.Targets); err != nil {
			return nil, err
		}
		c.log.Info().Str("digest", plan.Index.Descriptor.Digest.String()).Msg("saved " + dir)
	}
	if err := m.Push(x.Context, plan); err != nil {
		return nil, err
	}
	return done, c.files(x, r.Targets, artifact{plan.Index.Descriptor, plan.Index.Raw}, map[string]any{"strake.manifests": rows(plan.Index.Entries)})
}

// saveLayout writes the index of a plan as a layout, in which it has the targets' names.
func saveLayout(ctx context.Context, m *merge.Merger, p *merge.Plan, dir string, targets []merge.Target) error {
	idx, about, err := m.Content(ctx, p)
	if err != nil {
		return err
	}
	to := &export.Layout{Path: dir, Referrers: about}
	if to.Names, err = destinations(targets); err != nil {
		return err
	}
	return to.Export(ctx, idx)
}

func destinations(targets []merge.Target) (all []export.Destination, err error) {
	for _, t := range targets {
		d, err := export.ParseDestination(t.String())
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// setSubject looks up what the index is about.
func setSubject(x *cli.Context, client *registry.Client, r *merge.Request) error {
	ref := x.String("subject")
	if ref == "" {
		return nil
	}
	doc, err := client.Document(x.Context, ref)
	if err != nil {
		return fmt.Errorf("--subject: %w", err)
	}
	r.Index.Subject = &v1.Descriptor{MediaType: doc.Descriptor.MediaType, Digest: doc.Descriptor.Digest, Size: doc.Descriptor.Size}
	return nil
}

func entryName(e index.Entry) string {
	switch {
	case !e.IsImage():
		return "attestation of " + e.About()
	case e.Descriptor.Platform != nil:
		return index.Name(*e.Descriptor.Platform)
	}
	return "an artifact"
}

// step logs what a merge did.
func (c *command) step(s merge.Step) {
	e := c.log.Info()
	if s.What == "skipped" {
		c.log.Warn().Str("why", s.Why).Msg("left out " + s.Name)
		return
	}
	e.Str("digest", s.Digest.String()).Msg(s.What + " " + s.Name)
}

// artifact is a manifest in the form in which files about it are written.
type artifact struct {
	d   v1.Descriptor
	raw []byte
}

func (a artifact) MediaType() (types.MediaType, error) { return a.d.MediaType, nil }
func (a artifact) Digest() (v1.Hash, error)            { return a.d.Digest, nil }
func (a artifact) Size() (int64, error)                { return a.d.Size, nil }
func (a artifact) RawManifest() ([]byte, error)        { return a.raw, nil }

// files writes the small files that pipelines read.
func (c *command) files(x *cli.Context, targets []merge.Target, a artifact, extra map[string]any) error {
	f := &export.Files{
		Digest: x.String("digest-file"), NameDigest: x.String("image-name-with-digest-file"),
		Metadata: x.String("metadata-file"), Extra: extra,
	}
	var err error
	if f.Destinations, err = destinations(targets); err != nil {
		return err
	}
	return f.Write(context.WithoutCancel(x.Context), a)
}
