package main

import (
	"slices"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
)

// configFile is where settings are looked for.
const configFile = "/etc/strake/warmer.yaml"

// The groups in which the help shows the flags.
const (
	groupImages = "Images"
	groupStore  = "The directory"
)

// program is everything that can be typed and set. A flag is one entry in one of
// the tables below.
func program() *flags.Program {
	log := shared.LogFlags(configFile)
	asJSON := []flags.Flag{{Name: "json", Kind: flags.Bool, Group: shared.GroupCommand, Local: true, Doc: "as JSON"}}
	return &flags.Program{
		Name: "warmer", Doc: "fill and tend a directory of base images that builds share", Long: about, Flags: warmFlags(),
		Commands: append([]flags.Command{
			{Name: "ls", Doc: "list the images in the directory", Flags: slices.Concat(storeFlags(), asJSON, log)},
			{Name: "verify", Doc: "compare everything in the directory with its digests", Flags: slices.Concat(storeFlags(), asJSON, log)},
			{Name: "gc", Doc: "remove what is not used any more", Flags: slices.Concat(storeFlags(), gcFlags(), asJSON, log)},
			{Name: "export", Args: "[IMAGE…]", Doc: "write images into one tar, for a place without a network", Flags: slices.Concat(storeFlags(), exportFlags(), log)},
			{Name: "import", Args: "[TAR]", Doc: "put the images of such a tar into the directory", Flags: slices.Concat(storeFlags(), unpackedFlags(), importFlags(), log)},
			{Name: "lock", Doc: "write down what the base images of Dockerfiles are, for executor --lock", Flags: slices.Concat(imageFlags(), lockFlags(), shared.PullFlags(), log)},
		}, shared.Commands(warmFlags())...),
		Variables: envVariables(), Families: []string{"FF_KANIKO_"}, Shared: []string{"STRAKE_"}, Config: configFile,
	}
}

const about = `Images are named by --image, or found in Dockerfiles: those of FROM, COPY --from and RUN --mount of every stage, or of --target. stdout has a
line for each image that is there, REFERENCE and DIGEST; all else goes to stderr.

Every flag is also set by a variable, STRAKE_ and its name in capitals, or in a YAML file by its name. The command line counts before the
environment, the environment before the file. warmer config shows what it all comes to.

Exit codes: 0 done; 64 usage; 65 Dockerfile; 66 not found; 69 registry unreachable; 70 internal; 73 no space; 76 integrity; 77 denied; 78
environment or configuration; 128 and the number of a signal. Where several images failed, the first one's counts.`

func warmFlags() []flags.Flag {
	return slices.Concat(imageFlags(), []flags.Flag{
		{Name: "lock", Value: "FILE", Group: groupImages, Doc: "warm the images in this file of warmer lock"},
		{Name: "referrers", Kind: flags.Bool, Group: groupImages, Doc: "warm signatures and whatever else refers to an image, too"},
		{Name: "force", Short: "f", Kind: flags.Bool, Group: groupImages, State: flags.Kept, Doc: "ask the registry about every image, and read every blob again"},
		{
			Name: "cache-ttl", Kind: flags.Duration, Default: "336h", Group: groupImages, State: flags.Fixed,
			Doc: "how long a tag is taken for what it was without asking the registry", Note: "a tag that is older is asked for; in kaniko it stayed what it was until --force",
		},
		{Name: "ignore-errors", Kind: flags.Bool, Group: groupImages, Doc: "end with 0 as long as one image was warmed, as kaniko's does"},
		{Name: "parallel", Kind: flags.Int, Default: "4", Group: groupImages, Doc: "how many layers are fetched at once"},
	}, storeFlags(), unpackedFlags(), shared.PullFlags(), shared.LogFlags(configFile))
}

// imageFlags say which images.
func imageFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "image", Short: "i", Kind: flags.List, Value: "REF", Group: groupImages, State: flags.Kept, Doc: "warm this image"},
		{
			Name: "dockerfile", Short: "d", Kind: flags.List, Value: "PATH|URL", Group: groupImages, State: flags.Fixed,
			Doc: "warm the images that this Dockerfile needs: a path, or an http(s) URL", Note: "those of COPY --from and RUN --mount=from= as well; several may be given",
		},
		{Name: "build-arg", Kind: flags.Pairs, Bare: true, Value: "NAME[=VALUE]", Group: groupImages, State: flags.Kept, Doc: "a build argument of the Dockerfiles; NAME alone takes it from the environment"},
		{Name: "target", Value: "STAGE", Group: groupImages, Doc: "only what this stage of the Dockerfiles needs"},
		{
			Name: "platform", Aliases: []string{"customPlatform", "custom-platform"}, Kind: flags.List, Value: "OS/ARCH[/VARIANT]", Group: groupImages,
			Doc: "for this platform; several, also with commas, or all",
		},
	}
}

func storeFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "cache-dir", Short: "c", Default: "/cache", Value: "DIR", Group: groupStore, State: flags.Kept, Doc: "the directory"},
	}
}

func unpackedFlags() []flags.Flag {
	return []flags.Flag{
		{
			Name: "unpacked", Default: "auto", Words: []string{"auto", "true", "false"}, Group: groupStore,
			Doc: "keep layers unpacked as well, so that steps start at once: auto (where the volume allows), true or false",
		},
	}
}

func gcFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "keep", Kind: flags.List, Value: "PATTERN", Group: shared.GroupCommand, Local: true, Doc: "never remove this image, repository or pattern"},
		{Name: "max-size", Value: "SIZE", Group: shared.GroupCommand, Local: true, Doc: "remove images, the longest unused first, until the directory has no more than this, such as 20g"},
		{Name: "unused-for", Value: "AGE", Group: shared.GroupCommand, Local: true, Doc: "remove images that nobody warmed or used for so long, such as 30d or 12h"},
		{Name: "grace", Default: "1h", Value: "AGE", Group: shared.GroupCommand, Local: true, Doc: "leave alone what is younger than this, as it may be on its way"},
		{Name: "dry-run", Kind: flags.Bool, Group: shared.GroupCommand, Local: true, Doc: "only say what would be removed"},
	}
}

func exportFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "output", Short: "o", Default: "-", Value: "FILE", Group: shared.GroupCommand, Local: true, Doc: "the tar; - is stdout"},
	}
}

func importFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "force", Short: "f", Kind: flags.Bool, Group: shared.GroupCommand, Local: true, Doc: "names become what the tar says, even if they are newer here"},
	}
}

func lockFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "output", Short: "o", Default: "strake.lock", Value: "FILE", Group: shared.GroupCommand, Local: true, Doc: "the lock file; - is stdout"},
		{Name: "check", Kind: flags.Bool, Group: shared.GroupCommand, Local: true, Doc: "write nothing, and fail when the lock file is not what would be written"},
	}
}

// envVariables are the variables that set no flag.
func envVariables() []flags.Variable {
	return append([]flags.Variable{
		{Name: "NO_COLOR", Doc: "no colours in the log"},
		{Name: "UPSTREAM_CLIENT_TYPE", State: flags.Kept, Doc: "the program that calls this one, for registries to see"},
	}, shared.KanikoVariables()...)
}
