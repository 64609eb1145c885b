package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/version"
)

// groupCommand is the group of flags that belong to one subcommand.
const groupCommand = "Flags of this command"

// subcommands are what the program does besides building. What each does stands
// in actions.
func subcommands() []flags.Command {
	return slices.Concat([]flags.Command{
		{
			Name: "check", Doc: "check a Dockerfile without building it",
			Long: `Warnings alone end with exit code 0, unless the Dockerfile says # check=error=true; a Dockerfile that cannot be built ends with 65.`,
			Flags: append([]flags.Flag{
				{Name: "format", Default: "text", Words: []string{"text", "json", "sarif"}, Group: groupCommand, Local: true, Doc: "text, json as BuildKit has it, or sarif (2.1.0) for code scanning"},
			}, buildFlags()...),
		},
		{
			Name: "doctor", Doc: "tell how RUN steps would be isolated here, and why", Flags: buildFlags(),
			Long: `Tries what steps need, says what was chosen and what is lost by it, and names the setting that would give the next better choice. With --log-format json all of it is data. Ends with 78 where no RUN can work.`,
		},
		{
			Name: "config", Doc: "show every setting, with where it comes from",
			Long: `Takes the flags of a build and builds nothing. Passwords and values of arguments that are called like secrets are hidden.`,
			Flags: append([]flags.Flag{
				{Name: "format", Default: "text", Words: []string{"text", "json"}, Group: groupCommand, Local: true, Doc: "text or json"},
			}, buildFlags()...),
		},
		{
			Name: "push", Args: "ARCHIVE|DIR", Doc: "push an image that --tar-path or --oci-layout-path saved",
			Long: `Takes archives of docker save and OCI layouts, as directories or archives, that hold one image.`, Flags: pushFlags(),
		},
		{
			Name: "login", Args: "REGISTRY", Doc: "store a login for a registry", Flags: append(loginFlags(), shared.LogFlags(configFile)...),
			Long: `Writes $DOCKER_CONFIG/config.json, or config.json in .docker of the home directory, or asks the credential helper named there. The registry is not asked.`,
		},
		{Name: "logout", Args: "REGISTRY", Doc: "remove a login for a registry", Flags: shared.LogFlags(configFile)},
		{Name: "completion", Args: "bash|zsh|fish", Doc: "print a script that completes the command line in a shell"},
		{Name: "man", Doc: "print the manual page"},
		{
			Name: "version", Doc: "print the version",
			Flags: []flags.Flag{{Name: "json", Kind: flags.Bool, Group: groupCommand, Local: true, Doc: "as JSON"}},
		},
		{Name: "help", Args: "[COMMAND]", Doc: "print what can be typed"},
	}, cacheCommands())
}

// actions are the subcommands' own doing.
func (c *command) actions() map[string]cli.ActionFunc {
	return map[string]cli.ActionFunc{
		"check":      c.check,
		"config":     c.config,
		"doctor":     c.doctor,
		"completion": c.completion,
		"man":        c.man,
		"push":       c.push,
		"login":      c.login,
		"logout":     c.logout,
		"version":    func(x *cli.Context) error { return version.Print(c.stdout, x.Bool("json")) },
		"help":       c.help,

		"cache ls":     c.onCache(c.cacheList),
		"cache verify": c.onCache(c.cacheVerify),
		"cache gc":     c.onCache(c.cacheCollect),
	}
}

// config shows what the settings come to.
func (c *command) config(x *cli.Context) error {
	if x.NArg() > 0 {
		return &shared.UsageError{Err: argumentError(x.Args().First())}
	}
	c.notices()
	if x.String("format") == "json" {
		return c.settings.JSON(c.stdout)
	}
	return c.settings.Text(c.stdout)
}

func (c *command) completion(x *cli.Context) error {
	if x.NArg() != 1 {
		return &shared.UsageError{Err: fmt.Errorf("executor completion: want one of bash, zsh, fish")}
	}
	if err := c.program.Completion(c.stdout, x.Args().First()); err != nil {
		return &shared.UsageError{Err: fmt.Errorf("executor completion %w", err)}
	}
	return nil
}

func (c *command) man(*cli.Context) error { return c.program.Man(c.stdout, version.Get().Version) }

func (c *command) help(x *cli.Context) error {
	fmt.Fprint(c.stdout, c.program.Help(x.Args().First()))
	return nil
}

// notices says what is taken and does nothing, and what counts less than
// something else.
func (c *command) notices() {
	for _, n := range c.settings.Notices() {
		c.log.Warn().Msg(n)
	}
}
