package main

import (
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
	"github.com/strake-build/strake/shared/registry"
)

func editFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "target", Aliases: []string{"tag", "t"}, Category: groupOutput, Usage: "`REF`: REPOSITORY[:TAG] to push the new index to (default: the tag that was given; repeatable)"},
	}
}

func (c *command) addCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "add images to an index", ArgsUsage: "REFERENCE and SOURCE…", OnUsageError: c.usage,
		Flags: flags(editFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "replace", Category: groupInput, Usage: "put images in the place of those for the same platform"},
			&cli.StringSliceFlag{Name: "platform", Category: groupInput, Usage: "`PLATFORMS`: of sources that are indexes, take these platforms (repeatable)"},
			&cli.StringFlag{Name: "attestations", Value: "keep", Category: groupInput, Usage: "`keep|drop|referrers`: of sources that are indexes: keep, drop, or referrers"},
			&cli.BoolFlag{Name: "referrers", Category: groupInput, Usage: "copy signatures and other referrers along with images from elsewhere"},
		}, checkFlags(), signFlags(), outputFlags()),
		Action: c.run(2, -1, func(x *cli.Context) error {
			return c.edit(x, func(p *parser, r *merge.Request) {
				only := merge.Request{}
				p.collect(&only)
				r.Replace, r.Convert, r.IgnoreMissing, r.Referrers = x.Bool("replace"), only.Convert, only.IgnoreMissing, only.Referrers
				r.Attestations, r.Only = only.Attestations, only.Only
				for _, arg := range x.Args().Tail() {
					s, err := merge.ParseSource(arg, r.Targets[0].Repository)
					if err != nil {
						p.errs = append(p.errs, err)
					}
					r.Sources = append(r.Sources, s)
				}
			})
		}),
	}
}

func (c *command) removeCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "remove images from an index", ArgsUsage: "REFERENCE and PLATFORM or DIGEST…", OnUsageError: c.usage,
		Flags: flags(editFlags(), checkFlags(), signFlags(), outputFlags()),
		Action: c.run(2, -1, func(x *cli.Context) error {
			return c.edit(x, func(_ *parser, r *merge.Request) { r.Without = x.Args().Tail() })
		}),
	}
}

func (c *command) annotateCommand() *cli.Command {
	return &cli.Command{
		Name: "annotate", Usage: "change an index's annotations", ArgsUsage: "one REFERENCE", OnUsageError: c.usage,
		Flags: flags(editFlags(), []cli.Flag{
			&cli.StringSliceFlag{Name: "annotation", Category: groupIndex, Usage: "`KEY=VALUE`: set: [index:]KEY=VALUE or manifest-descriptor[PLATFORM]:KEY=VALUE (repeatable)"},
			&cli.StringSliceFlag{Name: "remove-annotation", Category: groupIndex, Usage: "`KEY`: remove the index's annotation KEY (repeatable)"},
		}, checkFlags(), signFlags(), outputFlags()),
		Action: c.run(1, 1, func(x *cli.Context) error {
			return c.edit(x, func(p *parser, r *merge.Request) {
				own, entries := p.annotations("annotation")
				maps.Copy(r.Index.Annotations, own)
				r.Index.EntryAnnotations = entries
				gone := list(x, "remove-annotation")
				if len(own)+len(entries)+len(gone) == 0 {
					p.fail("there is nothing to change: give --annotation or --remove-annotation")
				}
				for _, k := range gone {
					if _, ok := r.Index.Annotations[k]; !ok {
						p.fail("--remove-annotation %s: the index has no such annotation", k)
					}
					delete(r.Index.Annotations, k)
				}
			})
		}),
	}
}

// edit makes a new index of an old one. Its tag is moved only if it still names
// the old one then, so that nobody's change is lost.
func (c *command) edit(x *cli.Context, change func(*parser, *merge.Request)) error {
	ref := x.Args().First()
	client, err := c.client(x, ref)
	if err != nil {
		return err
	}
	defer client.Close()
	doc, err := client.Document(x.Context, ref)
	if err != nil {
		return err
	}
	if doc.Index == nil {
		return usageError("%s: it is an image, not an index; manifest create makes an index of images", ref)
	}
	names := list(x, "target")
	own := len(names) == 0
	if own {
		names = []string{ref}
	}
	p := &parser{x: x}
	r := merge.Request{Targets: p.targets(names), Sources: []merge.Source{pinned(doc)}, Index: same(doc)}
	if err := p.err(); err != nil {
		return err
	}
	if own && r.Targets[0].WasDigest == "" {
		r.Targets[0].WasDigest = doc.Descriptor.Digest.String()
	}
	r.Index.Rules = p.rules()
	change(p, &r)
	if err := p.err(); err != nil {
		return err
	}
	return c.merge(x, r, slices.Concat(names, []string{ref}))
}

// same are the options that make an index as it is.
func same(doc *registry.Document) index.Options {
	o := index.Options{Format: index.OCI, KeepOrder: true, Annotations: map[string]string{}, ArtifactType: doc.Index.ArtifactType, Subject: doc.Index.Subject}
	maps.Copy(o.Annotations, doc.Index.Annotations)
	if doc.Descriptor.MediaType != index.OCI.MediaType() {
		o.Format = index.Docker
	}
	return o
}
