package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	settings "github.com/strake-build/strake/shared/cli/flags"
)

// The groups in which the help shows the flags.
const (
	groupInput    = "Input"
	groupIndex    = "Index"
	groupChecks   = "Checks"
	groupOutput   = "Output"
	groupSign     = "Signing"
	groupRegistry = shared.GroupRegistry
)

// globalFlags may stand before a command, as manifest-tool has them, or after it.
func globalFlags() []settings.Flag {
	all := slices.Concat(registryFlags(), shared.HostFlags(), shared.LogFlags(configFile))
	for i := range all {
		all[i].State, all[i].Note = settings.New, "" // kaniko has no such program
	}
	return all
}

// registryFlags are manifest-tool's, and what they lack.
func registryFlags() []settings.Flag {
	return []settings.Flag{
		{Name: "username", Value: "NAME", Group: groupRegistry, Doc: "the user at the target's registry, and at no other"},
		{Name: "password", Value: "PASSWORD", Group: groupRegistry, Secret: true, Doc: "the password; others can see it in the list of processes, so better use the variable or --password-stdin"},
		{Name: "password-stdin", Kind: settings.Bool, Group: groupRegistry, Doc: "read the password from stdin"},
		{Name: "docker-cfg", Value: "FILE|DIR", Group: groupRegistry, Doc: "a Docker configuration, or its directory, to take credentials from instead of the usual files"},
		{Name: "plain-http", Kind: settings.Bool, Group: groupRegistry, Doc: "plain HTTP is good enough"},
		{Name: "insecure", Kind: settings.Bool, Group: groupRegistry, Doc: "plain HTTP is good enough, and any certificate is"},
		{Name: "skip-tls-verify", Kind: settings.Bool, Group: groupRegistry, Doc: "do not verify certificates of registries"},
		{Name: "retries", Kind: settings.Int, Default: "0", Group: groupRegistry, Doc: "more attempts at requests that fail for a while"},
	}
}

// checkFlags relax the checks that stand before every push of an index.
func checkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "expect-platforms", Category: groupChecks, Usage: "`PLATFORMS`: these platforms must be there, and no others: OS/ARCH[/VARIANT],… (repeatable)"},
		&cli.BoolFlag{Name: "allow-extra-platforms", Category: groupChecks, Usage: "take platforms that are not expected"},
		&cli.BoolFlag{Name: "allow-duplicate-platforms", Category: groupChecks, Usage: "take several images for one platform"},
		&cli.BoolFlag{Name: "allow-other-platform", Category: groupChecks, Usage: "take an image whose config names another platform than declared"},
		&cli.BoolFlag{Name: "allow-other-labels", Category: groupChecks, Usage: "take images whose revision, version and source labels differ"},
		&cli.BoolFlag{Name: "allow-mixed-types", Category: groupChecks, Usage: "take OCI and Docker media types in one index"},
		&cli.BoolFlag{Name: "convert", Category: groupChecks, Usage: "call images of the other media types by the index's types; their digests change"},
		&cli.BoolFlag{Name: "ignore-missing", Category: groupChecks, Usage: "leave out images that the registry says it does not have (404, and nothing else)"},
		&cli.StringSliceFlag{Name: "if-tag-digest", Category: groupChecks, Usage: "`[TAG=]DIGEST`: move the tag only if it names this now: [TAG=]DIGEST, or none (repeatable)"},
	}
}

func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Category: groupOutput, Usage: "check everything, write nothing"},
		&cli.StringFlag{Name: "digest-file", Category: groupOutput, Usage: "`FILE`: write the digest to this file"},
		&cli.StringFlag{Name: "image-name-with-digest-file", Category: groupOutput, Usage: "`FILE`: write REPOSITORY@DIGEST lines to this file"},
		&cli.StringFlag{Name: "metadata-file", Category: groupOutput, Usage: "`FILE`: write what was pushed as JSON, with buildx's keys, to this file"},
	}
}

// flags puts groups of flags together.
func flags(groups ...[]cli.Flag) []cli.Flag { return slices.Concat(groups...) }

// list is a repeatable flag without what is empty.
func list(x *cli.Context, name string) []string { return shared.Given(x, name) }
