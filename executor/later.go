package main

import (
	"fmt"
	"slices"
	"strings"
)

// laterFlags are the flags of kaniko's executor that this release does not
// have. They are known by name, so that a pipeline learns which of its flags it
// is about; none is taken and ignored.
func laterFlags() []string {
	return []string{
		"b", "bucket", "cache", "cache-copy-layers", "cache-dir", "cache-repo", "cache-run-layers", "cache-ttl",
		"compressed-caching", "dryrun", "force-build-metadata", "git", "ignore-var-run",
		"image-fs-extract-retry", "materialize", "no-push-cache", "pre-cleanup", "preserve-context", "skip-unused-stages",
		"whitelist-var-run",
	}
}

// laterCommands are kaniko's subcommands that this release does not have.
func laterCommands() []string { return []string{"bake", "login", "push"} }

// unknownFlag is the beginning of what package flag says of a flag that is not defined.
const unknownFlag = "flag provided but not defined: -"

// flagError says what is wrong with a flag in the words of the command line.
func flagError(err error) error {
	name, ok := strings.CutPrefix(err.Error(), unknownFlag)
	if !ok {
		return err
	}
	dashes := "--"
	if len(name) == 1 {
		dashes = "-"
	}
	if slices.Contains(laterFlags(), name) {
		return fmt.Errorf("%s%s: kaniko's flag is not in this release", dashes, name)
	}
	return fmt.Errorf("%s%s: there is no such flag", dashes, name)
}

// argumentError says what is wrong with an argument that is no flag.
func argumentError(arg string) error {
	if slices.Contains(laterCommands(), arg) {
		return fmt.Errorf("executor %s: kaniko's command is not in this release", arg)
	}
	return fmt.Errorf("argument %q: no arguments are taken, only flags", arg)
}
