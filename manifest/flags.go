package main

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// The groups in which the help shows the flags.
const (
	groupInput    = "Input"
	groupIndex    = "Index"
	groupChecks   = "Checks"
	groupOutput   = "Output"
	groupSign     = "Signing"
	groupRegistry = "Registries"
	groupLog      = "Logging"
)

// globalFlags may stand before a command, as manifest-tool has them, or after it.
func globalFlags() []cli.Flag { return append(registryFlags(), logFlags()...) }

// registryFlags are the executor's, and manifest-tool's.
func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "username", EnvVars: []string{"STRAKE_USERNAME"}, Category: groupRegistry, Usage: "the user at the target's registry, and at no other"},
		&cli.StringFlag{Name: "password", EnvVars: []string{"STRAKE_PASSWORD"}, Category: groupRegistry, Usage: "the password; others can see it in the list of processes, so better use the variable or --password-stdin"},
		&cli.BoolFlag{Name: "password-stdin", Category: groupRegistry, Usage: "read the password from stdin"},
		&cli.StringFlag{Name: "docker-cfg", Category: groupRegistry, Usage: "a Docker configuration, or its directory, to take credentials from (default: $DOCKER_CONFIG, or ~/.docker)"},
		&cli.BoolFlag{Name: "plain-http", Category: groupRegistry, Usage: "plain HTTP is good enough"},
		&cli.BoolFlag{Name: "insecure", Category: groupRegistry, Usage: "plain HTTP is good enough, and any certificate is"},
		&cli.StringSliceFlag{Name: "insecure-registry", Category: groupRegistry, Usage: "plain HTTP for this registry (repeatable)"},
		&cli.BoolFlag{Name: "skip-tls-verify", Category: groupRegistry, Usage: "do not verify certificates of registries"},
		&cli.StringSliceFlag{Name: "skip-tls-verify-registry", Category: groupRegistry, Usage: "do not verify certificates of this registry (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-certificate", Category: groupRegistry, Usage: "trust a CA for one registry: HOST=FILE (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-client-cert", Category: groupRegistry, Usage: "a client certificate for one registry: HOST=CERT,KEY (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-mirror", EnvVars: []string{"KANIKO_REGISTRY_MIRROR"}, Category: groupRegistry, Usage: "a mirror of Docker Hub: HOST[/PREFIX] (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-map", EnvVars: []string{"KANIKO_REGISTRY_MAP"}, Category: groupRegistry, Usage: "where a registry really is: FROM=TO[;FROM=TO] (repeatable, in order)"},
		&cli.BoolFlag{Name: "skip-default-registry-fallback", Category: groupRegistry, Usage: "never ask the origin when a mirror or map has no answer"},
		&cli.IntFlag{Name: "retries", Category: groupRegistry, Usage: "more attempts at requests that fail for a while"},
	}
}

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "verbosity", Aliases: []string{"v"}, Value: "info", Category: groupLog, Usage: "trace, debug, info, warn, error, fatal or panic"},
		&cli.StringFlag{Name: "log-format", Value: "color", Category: groupLog, Usage: "text, color or json"},
		&cli.BoolFlag{Name: "log-timestamp", Category: groupLog, Usage: "put the time before log lines"},
	}
}

// checkFlags relax the checks that stand before every push of an index.
func checkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "expect-platforms", Category: groupChecks, Usage: "these platforms must be there, and no others: OS/ARCH[/VARIANT],… (repeatable)"},
		&cli.BoolFlag{Name: "allow-extra-platforms", Category: groupChecks, Usage: "take platforms that are not expected"},
		&cli.BoolFlag{Name: "allow-duplicate-platforms", Category: groupChecks, Usage: "take several images for one platform"},
		&cli.BoolFlag{Name: "allow-other-platform", Category: groupChecks, Usage: "take an image whose config names another platform than declared"},
		&cli.BoolFlag{Name: "allow-other-labels", Category: groupChecks, Usage: "take images whose revision, version and source labels differ"},
		&cli.BoolFlag{Name: "allow-mixed-types", Category: groupChecks, Usage: "take OCI and Docker media types in one index"},
		&cli.BoolFlag{Name: "convert", Category: groupChecks, Usage: "call images of the other media types by the index's types; their digests change"},
		&cli.BoolFlag{Name: "ignore-missing", Category: groupChecks, Usage: "leave out images that the registry says it does not have (404, and nothing else)"},
		&cli.StringSliceFlag{Name: "if-tag-digest", Category: groupChecks, Usage: "move the tag only if it names this now: [TAG=]DIGEST, or none (repeatable)"},
	}
}

func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Category: groupOutput, Usage: "check everything, write nothing"},
		&cli.StringFlag{Name: "digest-file", Category: groupOutput, Usage: "write the digest to this file"},
		&cli.StringFlag{Name: "image-name-with-digest-file", Category: groupOutput, Usage: "write REPOSITORY@DIGEST lines to this file"},
		&cli.StringFlag{Name: "metadata-file", Category: groupOutput, Usage: "write what was pushed as JSON, with buildx's keys, to this file"},
	}
}

// flags puts groups of flags together; the global ones are known after a command, too.
func flags(groups ...[]cli.Flag) []cli.Flag {
	return append(slices.Concat(groups...), globalFlags()...)
}

// at is the context, of a command and those above it, in which a flag was given.
func at(x *cli.Context, name string) *cli.Context {
	for _, l := range x.Lineage() {
		if l.Command != nil && slices.Contains(l.LocalFlagNames(), name) {
			return l
		}
	}
	return x
}

func text(x *cli.Context, name string) string { return at(x, name).String(name) }
func yes(x *cli.Context, name string) bool    { return at(x, name).Bool(name) }

// list is a repeatable flag without what is empty: a variable that a pipeline
// leaves empty is as good as none.
func list(x *cli.Context, name string) []string {
	return slices.DeleteFunc(slices.Clone(at(x, name).StringSlice(name)), func(s string) bool { return s == "" })
}
