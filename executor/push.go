package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/export"
)

// pushFlags are the flags of a build that are about pushing.
func pushFlags() []flags.Flag {
	not := []string{"no-push", "tar-path", "oci-layout-path", "image-format", "provenance", "sbom", "attestation-to"}
	out := slices.DeleteFunc(outputFlags(), func(f flags.Flag) bool { return slices.Contains(not, f.Name) })
	return slices.Concat(out, registryFlags(), shared.LogFlags(configFile))
}

// push takes an image that was saved to registries: build, scan, push.
func (c *command) push(x *cli.Context) (err error) {
	if x.NArg() != 1 {
		return &shared.UsageError{Err: errors.New("executor push: want one archive or OCI layout directory")}
	}
	a, closer, err := export.Open(x.Args().First())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	if len(x.StringSlice("destination")) == 0 {
		return &shared.UsageError{Err: errors.New("--destination: none given")}
	}
	client, err := c.client(x)
	if err != nil {
		return err
	}
	out, err := c.outputs(x, client)
	if err != nil {
		return err
	}
	if out.push.Referrers, err = export.Referrers(x.Args().First()); err != nil {
		return err
	}
	ctx := c.log.WithContext(x.Context)
	c.notices()
	if !x.Bool("skip-push-permission-check") {
		if err := out.check(ctx); err != nil {
			return err
		}
	}
	if err := export.Export(ctx, a, out.ways, out.files); err != nil {
		return err
	}
	d, err := a.Digest()
	if err != nil {
		return err
	}
	for _, n := range out.files.Destinations {
		fmt.Fprintf(c.stdout, "%s@%s\n", n.Repository.Name(), d)
	}
	return nil
}
