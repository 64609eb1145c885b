package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/merge"
)

func (c *command) copyCommand() *cli.Command {
	return &cli.Command{
		Name: "copy", Usage: "copy an image or index as it is", ArgsUsage: "SOURCE and TARGET…", OnUsageError: c.usage,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "referrers", Category: groupInput, Usage: "copy signatures, attestations and other referrers along"},
			&cli.StringSliceFlag{Name: "if-tag-digest", Category: groupChecks, Usage: "`[TAG=]DIGEST`: move the tag only if it names this now: [TAG=]DIGEST, or none (repeatable)"},
		}, outputFlags()),
		Action: c.run(2, -1, c.copy),
	}
}

func (c *command) copy(x *cli.Context) error {
	p := &parser{x: x}
	names := x.Args().Tail()
	targets := p.targets(names)
	source, err := merge.ParseSource(x.Args().First(), "")
	if err != nil {
		p.errs = append(p.errs, err)
	}
	if err := p.err(); err != nil {
		return err
	}
	client, err := c.client(x, slices.Concat(names, []string{source.Ref})...)
	if err != nil {
		return err
	}
	defer client.Close()
	m := &merge.Merger{Registry: client, Report: c.step}
	d, raw, err := m.Copy(x.Context, merge.CopyRequest{Source: source, Targets: targets, Referrers: x.Bool("referrers"), DryRun: x.Bool("dry-run")})
	if err != nil {
		return err
	}
	if !x.Bool("dry-run") {
		if err := c.files(x, targets, artifact{d, raw}, nil); err != nil {
			return err
		}
	}
	for _, name := range (&merged{targets: targets}).repositories() {
		fmt.Fprintf(c.stdout, "%s@%s\n", name, d.Digest)
	}
	return nil
}
