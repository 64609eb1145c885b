package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
)

func (c *command) createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "make an index of images, and push it or save it",
		ArgsUsage:    "[SOURCE…]",
		OnUsageError: c.usage,
		Description: `A SOURCE is a reference; a digest, which is looked for in the target's repository; or, beginning with / or ./, an
OCI layout, an archive of an image, or a file or directory of digests as CI jobs hand them on: kaniko's three
digest files, buildx's metadata, empty files named by the digest. Sources may be images or indexes, anywhere.`,
		Flags: flags([]cli.Flag{
			&cli.StringSliceFlag{Name: "target", Aliases: []string{"tag", "t"}, Category: groupOutput, Usage: "`REF`: REPOSITORY[:TAG] to push the index to; tags are moved in this order (repeatable)"},
			&cli.StringFlag{Name: "oci-layout-path", Category: groupOutput, Usage: "`DIR`: save the index, with all below it, as an OCI layout directory; needs no registry"},
			&cli.StringSliceFlag{Name: "digests", Aliases: []string{"digests-dir"}, Category: groupInput, Usage: "`PATH`: a file or directory of digests (repeatable)"},
			&cli.StringFlag{Name: "repository", Category: groupInput, Usage: "`REPOSITORY`: where digests without a repository are (default: the first target's)"},
			&cli.StringSliceFlag{Name: "platform", Category: groupInput, Usage: "`PLATFORMS`: of sources that are indexes, take these platforms: OS/ARCH[/VARIANT],… (repeatable)"},
			&cli.StringFlag{Name: "attestations", Value: "keep", Category: groupInput, Usage: "`keep|drop|referrers`: of sources that are indexes: keep, drop, or referrers"},
			&cli.BoolFlag{Name: "referrers", Category: groupInput, Usage: "copy signatures and other referrers along with images from elsewhere"},
		}, indexFlags(), checkFlags(), signFlags(), outputFlags()),
		Action: c.run(0, -1, c.create),
	}
}

func indexFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "type", Value: "auto", Category: groupIndex, Usage: "`auto|oci|docker`: oci, docker, or auto: docker where all images are"},
		&cli.StringSliceFlag{Name: "annotation", Category: groupIndex, Usage: "`KEY=VALUE`: annotate: [index:]KEY=VALUE or manifest-descriptor[PLATFORM]:KEY=VALUE (repeatable)"},
		&cli.BoolFlag{Name: "no-label-annotations", Category: groupIndex, Usage: "do not annotate the index with the images' revision, version and source labels"},
		&cli.BoolFlag{Name: "keep-order", Category: groupIndex, Usage: "keep the order of the sources; otherwise the same images give the same index, in whatever order they come"},
		&cli.StringFlag{Name: "artifact-type", Category: groupIndex, Usage: "`TYPE`: the index's artifactType"},
		&cli.StringFlag{Name: "subject", Category: groupIndex, Usage: "`REF`: REFERENCE of the manifest that the index is about"},
	}
}

func (c *command) create(x *cli.Context) error {
	p := &parser{x: x}
	names := list(x, "target")
	switch {
	case len(names) > 0:
	case x.String("oci-layout-path") == "":
		p.fail("neither --target nor --oci-layout-path is given: the index would go nowhere")
	case x.Bool("sign"), x.Bool("sign-index-only"):
		p.fail("--sign: signatures are kept in a registry; name one by --target")
	}
	r := merge.Request{Targets: p.targets(names), Index: p.index()}
	p.collect(&r)
	repository := x.String("repository")
	if repository == "" && len(r.Targets) > 0 {
		repository = r.Targets[0].Repository
	}
	r.Sources = p.sources(repository)
	if err := p.err(); err != nil {
		return err
	}
	return c.merge(x, r, names)
}

// index reads what the index is like.
func (p *parser) index() index.Options {
	format, err := index.ParseFormat(p.x.String("type"))
	if err != nil {
		p.fail("--type: %w", err)
	}
	own, entries := p.annotations("annotation")
	return index.Options{
		Format: format, KeepOrder: p.x.Bool("keep-order"), Annotations: own, EntryAnnotations: entries,
		FromLabels: !p.x.Bool("no-label-annotations"), ArtifactType: p.x.String("artifact-type"), Rules: p.rules(),
	}
}

// collect reads how sources are taken.
func (p *parser) collect(r *merge.Request) {
	var err1, err2 error
	r.Only, err1 = index.ParsePlatforms(list(p.x, "platform"))
	r.Attestations, err2 = merge.ParseAttestations(p.x.String("attestations"))
	for flag, err := range map[string]error{"platform": err1, "attestations": err2} {
		if err != nil {
			p.fail("--%s: %w", flag, err)
		}
	}
	r.Convert, r.IgnoreMissing, r.Referrers = p.x.Bool("convert"), p.x.Bool("ignore-missing"), p.x.Bool("referrers")
}

// sources reads the arguments and --digests.
func (p *parser) sources(repository string) (all []merge.Source) {
	files := list(p.x, "digests")
	for _, arg := range p.x.Args().Slice() {
		if merge.IsPath(arg) && isDigests(arg) {
			files = append(files, arg)
			continue
		}
		s, err := merge.ParseSource(arg, repository)
		if err != nil {
			p.errs = append(p.errs, err)
		}
		all = append(all, s)
	}
	for _, path := range files {
		ss, err := merge.DigestSources(path, repository)
		if err != nil {
			p.inputs = append(p.inputs, err)
		}
		all = append(all, ss...)
	}
	if len(all) == 0 && len(p.errs)+len(p.inputs) == 0 {
		p.errs = append(p.errs, errors.New("no source is given: name images, or --digests"))
	}
	return all
}

// isDigests tells a file or directory of digests from an image. Layouts say
// what they are; archives are tars.
func isDigests(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if info.IsDir() {
		_, err := os.Stat(path + "/oci-layout")
		return err != nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 262)
	n, _ := f.ReadAt(head, 0)
	return n < len(head) || string(head[257:]) != "ustar" // an archive says so there
}

// merge plans and pushes, and hands on what came of it.
func (c *command) merge(x *cli.Context, r merge.Request, refs []string) error {
	done, err := c.mergeOnly(x, r, refs)
	if err != nil {
		return err
	}
	for _, name := range done.repositories() {
		fmt.Fprintf(c.stdout, "%s@%s\n", name, done.plan.Index.Descriptor.Digest)
	}
	return nil
}
