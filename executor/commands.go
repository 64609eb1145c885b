package main

import (
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
)

// groupCommand is the group of flags that belong to one subcommand.
const groupCommand = shared.GroupCommand

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
			Name: "push", Args: "ARCHIVE|DIR", Doc: "push an image that --tar-path or --oci-layout-path saved",
			Long: `Takes archives of docker save and OCI layouts, as directories or archives, that hold one image.`, Flags: pushFlags(),
		},
		{
			Name: "login", Args: "REGISTRY", Doc: "store a login for a registry", Flags: append(loginFlags(), shared.LogFlags(configFile)...),
			Long: `Writes $DOCKER_CONFIG/config.json, or config.json in .docker of the home directory, or asks the credential helper named there. The registry is not asked.`,
		},
		{Name: "logout", Args: "REGISTRY", Doc: "remove a login for a registry", Flags: shared.LogFlags(configFile)},
	}, cacheCommands(), shared.Commands(buildFlags()))
}

// actions are what is done, by subcommand.
func (c *command) actions() map[string]cli.ActionFunc {
	all := shared.Actions(c.program, c.settings, c.stdout, c.notices)
	maps.Copy(all, map[string]cli.ActionFunc{
		"":       c.build,
		"check":  c.check,
		"doctor": c.doctor,
		"push":   c.push,
		"login":  c.login,
		"logout": c.logout,

		"cache ls":     c.onCache(c.cacheList),
		"cache verify": c.onCache(c.cacheVerify),
		"cache gc":     c.onCache(c.cacheCollect),
	})
	return all
}

// notices says what is taken and does nothing, and what counts less than
// something else.
func (c *command) notices() {
	for _, n := range c.settings.Notices() {
		c.log.Warn().Msg(n)
	}
}
