package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	settings "github.com/strake-build/strake/shared/cli/flags"
)

// configFile is where settings are looked for.
const configFile = "/etc/strake/manifest.yaml"

const about = `Every flag is also set by a variable, STRAKE_ and its name in capitals, or in a YAML file by its name. Where commands use a name in ways of
their own, the command's name stands before it: STRAKE_CREATE_TARGET. The command line counts before the environment, the environment before the
file. manifest config COMMAND shows what it all comes to.

Exit codes: 0 done; 10 no signature, 11 no such tag, 12 no signature that fits, 13 no certificate (verify, verify-attestation); 64 usage; 65 a check
failed; 66 not found; 69 registry unreachable; 70 internal; 73 no space; 75 temporary; 76 integrity; 77 denied, or not signed as required; 78
environment or configuration; 128 and the number of a signal.

stdout carries the result only, one REPOSITORY@DIGEST per repository; all else goes to stderr.`

// commands are what the program does. A command of two words stands below its first.
func (c *command) commands() []*cli.Command {
	return []*cli.Command{
		c.createCommand(), c.pushCommand(), c.inspectCommand(),
		c.signCommand(), c.verifyCommand(), c.attestCommand(), c.verifyAttestationCommand(), c.generateCommand(), c.importCommand(), c.trustedRootCommand(),
		c.addCommand(), c.removeCommand(), c.annotateCommand(), c.copyCommand(),
	}
}

// makeProgram makes the table of everything that can be typed and set, and of
// what each command does.
func (c *command) makeProgram() (*settings.Program, map[string]cli.ActionFunc) {
	p := &settings.Program{
		Name: "manifest", Doc: "make one multi-arch index of images that were built apart; check, push, sign and attest it", Long: about,
		Flags: globalFlags(), Variables: envVariables(), Shared: shared.Families(), Config: configFile, OneDash: true,
	}
	actions := map[string]cli.ActionFunc{}
	var add func(prefix string, list []*cli.Command)
	add = func(prefix string, list []*cli.Command) {
		for _, x := range list {
			name := prefix + x.Name
			if len(x.Subcommands) > 0 {
				add(name+" ", x.Subcommands)
				continue
			}
			actions[name] = x.Action
			p.Commands = append(p.Commands, settings.Command{Name: name, Args: x.ArgsUsage, Doc: x.Usage, Long: x.Description, Flags: table(x.Flags)})
		}
	}
	add("", c.commands())
	p.Commands = append(p.Commands, shared.Commands(globalFlags())...)
	return p, actions
}

// table makes entries of a command's flags, and adds those of all commands.
func table(list []cli.Flag) []settings.Flag {
	own := settings.FromCLI(settings.New, list)
	for i := range own {
		f := &own[i]
		f.Local = !slices.Contains(everywhere(), f.Name)
		if f.Group == "" {
			f.Group = shared.GroupCommand
		}
	}
	return append(own, globalFlags()...)
}

// everywhere are the flags of commands that mean the same wherever they are.
func everywhere() (names []string) {
	for _, f := range slices.Concat(checkFlags(), outputFlags(), signFlags()) {
		if f.Names()[0] != "key" { // a private one to some, a public one to others
			names = append(names, f.Names()[0])
		}
	}
	return names
}

func envVariables() []settings.Variable {
	return []settings.Variable{
		{Name: "COSIGN_PASSWORD", Doc: "the password of the private key"},
		{Name: "NO_COLOR", Doc: "no colours in the log"},
	}
}
