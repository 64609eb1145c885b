package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/manifest/internal/cosign"
)

func (c *command) trustedRootCommand() *cli.Command {
	return &cli.Command{
		Name: "trusted-root", Usage: "fetch the trusted_root.json that verify wants, from where a Sigstore publishes it", ArgsUsage: "flags only", OnUsageError: c.usage,
		Flags: flags([]cli.Flag{
			&cli.StringFlag{Name: "tuf-mirror", EnvVars: []string{"STRAKE_TUF_MIRROR"}, Value: cosign.PublicMirror, Category: groupSign, Usage: "`URL`: the address of the TUF repository"},
			&cli.StringFlag{Name: "tuf-root", EnvVars: []string{"STRAKE_TUF_ROOT"}, Category: groupSign, Usage: "`FILE`: the file root.json by which it is trusted (default: the public Sigstore's, which the program knows)"},
			&cli.BoolFlag{Name: "services", Category: groupSign, Usage: "fetch the signing_config.json instead, for sign --signing-config"},
		}),
		Action: c.run(0, 0, c.trustedRoot),
	}
}

// trustedRoot prints the file. It is the one command that asks a Sigstore whom to trust.
func (c *command) trustedRoot(x *cli.Context) error {
	r := cosign.Repository{Mirror: x.String("tuf-mirror")}
	if file := x.String("tuf-root"); file != "" {
		var err error
		if r.Root, err = os.ReadFile(file); err != nil {
			return usageError("--tuf-root: %w", err)
		}
	} else if r.Mirror != cosign.PublicMirror {
		return usageError("--tuf-root: none given; which root.json is %s to be trusted by?", r.Mirror)
	}
	target := cosign.TrustedRootTarget
	if x.Bool("services") {
		target = cosign.SigningConfigTarget
	}
	b, err := r.Target(x.Context, target)
	if err != nil {
		return err
	}
	_, err = c.stdout.Write(b)
	return err
}
