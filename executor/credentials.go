package main

import (
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
)

// keychain finds credentials by the environment and --credential-helpers.
func (c *command) keychain(x *cli.Context) (authn.Keychain, error) {
	e := shared.Environment{
		Variables:    os.Environ(),
		Destinations: x.StringSlice("destination"),
		Notice:       func(line string) { c.log.Warn().Msg(line) },
	}
	if x.IsSet("credential-helpers") {
		e.Helpers = append([]string{}, x.StringSlice("credential-helpers")...)
	}
	return shared.Keychain(e)
}
