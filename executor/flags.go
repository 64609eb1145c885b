package main

import (
	"slices"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/environment"
)

// configFile is where settings are looked for.
const configFile = "/etc/strake/executor.yaml"

// The groups in which the help shows the flags.
const (
	groupBuild    = "Build"
	groupOutput   = "Output"
	groupRun      = "RUN steps"
	groupSnapshot = "Snapshots and layers"
	groupRegistry = shared.GroupRegistry
	groupLog      = shared.GroupLog
	groupKaniko   = "Of kaniko's, taken though not needed"
)

// program is everything that can be typed and set. A flag is one entry in one of
// the tables below.
func program() *flags.Program {
	return &flags.Program{
		Name: "executor", Doc: "build a container image from a Dockerfile, without a daemon and without privilege",
		Long: about, Flags: buildFlags(), Commands: subcommands(), Variables: envVariables(), Families: shared.Families(),
		Config: configFile,
	}
}

const about = `Every flag is also set by a variable, STRAKE_ and its name in capitals, or in a YAML file by its name. The command line counts
before the environment, the environment before the file. executor config shows what it all comes to.

Exit codes: 0 done; a failing RUN's own code; 64 usage; 65 Dockerfile; 66 context or image not found; 69 registry unreachable; 70 internal;
73 no space; 75 temporary; 76 integrity; 77 denied; 78 environment or configuration; 128 and the number of a signal.

stdout carries the result only, one REPOSITORY@DIGEST per destination; all else goes to stderr.`

// buildFlags are the flags of a build: kaniko's by their names, BuildKit's and
// buildx's by theirs.
func buildFlags() []flags.Flag {
	return slices.Concat(contextFlags(), fetchFlags(), stepFlags(), layerFlags(), outputFlags(), registryFlags(), cacheFlags(), warmedFlags(), shared.LogFlags(configFile), kanikoFlags())
}

func contextFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "context", Short: "c", Default: "/workspace/", Value: "CONTEXT", Group: groupBuild, State: flags.Kept, Doc: "the build context: a directory, dir://PATH, tar://FILE, tar://stdin, https://…, gs://…, s3://…, a git URL, or oci://REF"},
		{Name: "context-sub-path", Value: "PATH", Group: groupBuild, State: flags.Fixed, Doc: "a folder inside the context to use as the context", Note: "counts for plain directories, too"},
		{Name: "dockerfile", Short: "f", Default: "Dockerfile", Value: "PATH", Group: groupBuild, State: flags.Kept, Doc: "the Dockerfile: a path, a path inside the context, a URL, or - for standard input"},
		{Name: "build-arg", Kind: flags.Pairs, Bare: true, Value: "NAME[=VALUE]", Group: groupBuild, State: flags.Kept, Doc: "set a build argument; NAME alone takes it from the environment"},
		{Name: "target", Kind: flags.List, Value: "STAGE", Group: groupBuild, State: flags.Kept, Doc: "build this stage, by name; of several, also with commas, the first becomes the image"},
		{Name: "platform", Aliases: []string{"custom-platform", "customPlatform"}, Kind: flags.List, Value: "OS/ARCH[/VARIANT]", Group: groupBuild, Doc: "build for this platform; several, also with commas, make an index"},
		{Name: "label", Kind: flags.Pairs, Group: groupBuild, State: flags.Kept, Doc: "set a label of the image"},
		{Name: "annotation", Kind: flags.Pairs, Value: "[manifest:|index:]KEY=VALUE", Group: groupBuild, State: flags.Kept, Doc: "set an annotation of the manifest, or of the index"},
		{Name: "build-context", Kind: flags.Pairs, Value: "NAME=CONTEXT", Group: groupBuild, Doc: "a named context: a directory, docker-image://REF, oci-layout://DIR[:TAG|@DIGEST], https://… or git…"},
		{Name: "no-cache", Kind: flags.Bool, Group: groupBuild, Doc: "do not use results of earlier builds"},
		{Name: "dryrun", Kind: flags.Bool, Group: groupBuild, State: flags.Kept, Doc: "print the plan on stdout, and build and push nothing"},
		{Name: "print-plan", Kind: flags.Bool, Env: []string{"KANIKO_PRINT_PLAN"}, Group: groupBuild, State: flags.Kept, Doc: "print the plan before building"},
		{Name: "opt", Kind: flags.Pairs, Group: groupBuild, Doc: "an option of BuildKit's Dockerfile frontend"},
	}
}

func stepFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "secret", Kind: flags.List, Value: "id=NAME[,src=FILE|,env=VARIABLE]", Group: groupRun, State: flags.Fixed, Doc: "offer a secret to RUN --mount=type=secret", Note: "only the step that asks sees it, and no file of it is in the image or beside it"},
		{Name: "ssh", Kind: flags.List, Value: "default|NAME[=SOCKET|KEY[,KEY]]", Group: groupRun, Doc: "offer an SSH agent to RUN --mount=type=ssh"},
		{Name: "network", Words: []string{"default", "none", "host"}, Group: groupRun, Doc: "network of RUN steps"},
		{Name: "add-host", Kind: flags.List, Value: "NAME:IP", Group: groupRun, Doc: "a line for /etc/hosts of RUN steps"},
		{Name: "hostname", Value: "NAME", Group: groupRun, Doc: "hostname of RUN steps"},
		{Name: "shm-size", Value: "SIZE", Group: groupRun, Doc: "size of /dev/shm in RUN steps, such as 64m"},
		{Name: "ulimit", Kind: flags.List, Value: "TYPE=SOFT[:HARD]", Group: groupRun, Doc: "a limit of RUN steps"},
		{Name: "allow", Kind: flags.List, Value: "ENTITLEMENT", Group: groupRun, Doc: "grant an entitlement: network.host"},
		{Name: "isolation", Default: "auto", Words: environment.Views(), Group: groupRun, Doc: "how RUN gets its root (executor doctor tells what works here)"},
		{Name: "identity", Default: "auto", Words: environment.Identities(), Group: groupRun, Doc: "who RUN's users are"},
		{Name: "overlay-memory", Value: "SIZE", Group: groupRun, Doc: "where no volume takes an overlay, keep layers in memory, up to this size: 2g"},
		{Name: "cleanup", Kind: flags.Bool, Env: []string{"KANIKO_CLEANUP"}, Group: groupRun, State: flags.Fixed, Doc: "empty the container's root after a build in place; the next build does so anyway", Note: "what a build made below its own directory is removed always, and nothing else but a root that is the builder's own"},
		{Name: "materialize", Kind: flags.Bool, Group: groupRun, State: flags.Fixed, Doc: "leave the image's files in the container's root at the end, in place", Note: "in the official image only, whose root is the builder's own; the next build there removes them"},
		{Name: "kaniko-dir", Env: []string{"KANIKO_DIR"}, Value: "DIR", Group: groupRun, State: flags.Kept, Doc: "the builder's own directory (default: /kaniko where it exists, else strake in the user's cache directory)"},
	}
}

const oneMode = "the one correct way of finding changes is used"

func layerFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "single-snapshot", Kind: flags.Bool, Group: groupSnapshot, State: flags.Kept, Doc: "put all changes of the final stage into one layer"},
		{Name: "snapshot-mode", Aliases: []string{"snapshotMode"}, Default: "full", Words: []string{"full", "redo", "time"}, Group: groupSnapshot, State: flags.Kept, Doc: "kaniko's ways of finding changes", Note: oneMode, Warns: true},
		{Name: "ignore-path", Kind: flags.List, Value: "PATH", Group: groupSnapshot, State: flags.Kept, Doc: "leave a path out of layers"},
		{Name: "snapshot-timeout", Kind: flags.Duration, Default: "90m", Env: []string{"SNAPSHOT_TIMEOUT_DURATION"}, Group: groupSnapshot, Doc: "how long looking for a step's changes may take"},
		{Name: "reproducible", Kind: flags.Bool, Group: groupSnapshot, State: flags.Fixed, Doc: "the same input gives the same digest: times become SOURCE_DATE_EPOCH, or 1970", Note: "costs nothing, and leaves the layers of the base as they are"},
		{Name: "compression", Words: []string{"gzip", "zstd", "none"}, Group: groupSnapshot, State: flags.Kept, Doc: "of layers: gzip (default), zstd or none"},
		{Name: "compression-level", Kind: flags.Int, Default: "-1", Group: groupSnapshot, State: flags.Kept, Doc: "of layers; -1 is the usual one"},
	}
}

func outputFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "destination", Short: "d", Kind: flags.List, Value: "REF", Group: groupOutput, State: flags.Kept, Doc: "push to this reference"},
		{Name: "push-by-digest", Kind: flags.Bool, Group: groupOutput, Doc: "set no tag: destinations are repositories, and the image is found there by its digest only"},
		{Name: "no-push", Kind: flags.Bool, Env: []string{"KANIKO_NO_PUSH"}, Group: groupOutput, State: flags.Kept, Doc: "build without pushing"},
		{Name: "tar-path", Aliases: []string{"tarPath"}, Value: "FILE", Group: groupOutput, State: flags.Kept, Doc: "save the image as a tar that docker load and podman load take; - is stdout"},
		{Name: "oci-layout-path", Value: "DIR", Group: groupOutput, State: flags.Kept, Doc: "save the image as an OCI layout directory"},
		{Name: "image-format", Words: []string{"oci", "docker"}, Group: groupOutput, State: flags.Kept, Doc: "oci (default) or docker"},
		{Name: "digest-file", Value: "FILE|URL", Group: groupOutput, State: flags.Fixed, Doc: "write the image's digest to this file, or PUT it to this https URL", Note: "written when the push has succeeded, not before"},
		{Name: "image-name-with-digest-file", Value: "FILE|URL", Group: groupOutput, State: flags.Fixed, Doc: "write REPOSITORY@DIGEST lines to this file", Note: "never has the tag, whatever else is asked for"},
		{Name: "image-name-tag-with-digest-file", Value: "FILE|URL", Group: groupOutput, State: flags.Kept, Doc: "write REPOSITORY:TAG@DIGEST lines to this file"},
		{Name: "metadata-file", Value: "FILE|URL", Group: groupOutput, Doc: "write what was built as JSON, with buildx's keys, to this file"},
		{Name: "provenance", Default: "off", Value: "off|min|max|KEY=VALUE,…", Group: groupOutput, Doc: "tell how the image was made (SLSA v1): mode=min|max, builder-id=URI"},
		{Name: "sbom", Default: "off", Value: "off|spdx|cyclonedx", Group: groupOutput, Doc: "list what is in the image; both formats with a comma"},
		{Name: "attestation-to", Kind: flags.List, Value: "referrer|index|dir=DIR", Group: groupOutput, Doc: "where --provenance and --sbom go: a referrer of the image (default), an index beside it as with buildx, files"},
		{Name: "timings-file", Env: []string{"BENCHMARK_FILE"}, Value: "FILE", Group: groupOutput, Doc: "write how long each step took, as JSON, to this file"},
		{Name: "termination-log", Default: "/dev/termination-log", Value: "FILE", Group: groupOutput, Doc: "a file, if it exists, that gets the message of a failure, for Kubernetes"},
		{Name: "push-retry", Kind: flags.Int, Default: "0", Group: groupOutput, State: flags.Kept, Doc: "more attempts at pushing, besides the retries that every request has"},
		{Name: "push-ignore-immutable-tag-errors", Kind: flags.Bool, Group: groupOutput, State: flags.Kept, Doc: "a tag that may not move and exists is no error"},
		{Name: "skip-push-permission-check", Kind: flags.Bool, Group: groupOutput, State: flags.Kept, Doc: "do not try before the build whether the push is allowed"},
	}
}

// apart is why kaniko's care for its own root is not needed.
const apart = "not needed; no root is replaced but the official image's own, and nothing is lost of another"

// kanikoFlags are those that do nothing here, each with what is done instead.
func kanikoFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "force-build-metadata", Kind: flags.Bool, Group: groupKaniko, State: flags.Noted, Note: "metadata instructions are always in the image"},
		{Name: "skip-unused-stages", Kind: flags.Bool, Group: groupKaniko, State: flags.Noted, Note: "stages that nothing needs are never built"},
		{Name: "use-new-run", Kind: flags.Bool, Group: groupKaniko, State: flags.Noted, Note: oneMode},
		{Name: "compressed-caching", Kind: flags.Bool, Default: "true", Group: groupKaniko, State: flags.Noted, Note: "layers are streamed; none is held in memory"},
		{Name: "force", Kind: flags.Bool, Group: groupKaniko, State: flags.Noted, Note: apart},
		{Name: "pre-cleanup", Kind: flags.Bool, Env: []string{"KANIKO_PRE_CLEANUP"}, Group: groupKaniko, State: flags.Noted, Note: apart},
		{Name: "preserve-context", Kind: flags.Bool, Env: []string{"KANIKO_PRESERVE_CONTEXT"}, Group: groupKaniko, State: flags.Noted, Note: apart},
		{Name: "ignore-var-run", Aliases: []string{"whitelist-var-run"}, Kind: flags.Bool, Default: "true", Group: groupKaniko, State: flags.Noted, Note: "/var/run of the image is not the builder's, and is kept as steps leave it"},
	}
}

func registryFlags() []flags.Flag { return shared.RegistryFlags() }

// namespaceVariable is how package sandbox marks a process in a user namespace.
const namespaceVariable = "STRAKE_USER_NAMESPACE"

// envVariables are the variables that set no flag.
func envVariables() []flags.Variable {
	return append([]flags.Variable{
		{Name: "SOURCE_DATE_EPOCH", Doc: "the time of everything in the image, in seconds since 1970"},
		{Name: "BUILDER_OUTPUT", State: flags.Kept, Doc: "a directory where images gets a line of JSON for each destination, for Cloud Build"},
		{Name: metadataProvenance, Doc: "how much of --provenance stands in --metadata-file, too: min, max, or disabled (default: all of it)"},
		{Name: "BUILDX_METADATA_WARNINGS", Doc: "true: the Dockerfile's warnings stand in --metadata-file, too"},
		{Name: "NO_COLOR", Doc: "no colours in the log"},
		{Name: namespaceVariable, Doc: "the program's own: it has set it for its part in a user namespace"},
	}, append(fetchVariables(), shared.KanikoVariables()...)...)
}
