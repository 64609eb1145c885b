package main

import (
	"time"

	"github.com/urfave/cli/v2"
)

// The groups in which the help shows the flags.
const (
	groupImages   = "Images"
	groupStore    = "The directory"
	groupRegistry = "Registries"
	groupLog      = "Logging"
)

// imageFlags say which images.
func imageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "image", Aliases: []string{"i"}, Category: groupImages, Usage: "warm this image (repeatable)"},
		&cli.StringSliceFlag{Name: "dockerfile", Aliases: []string{"d"}, Category: groupImages, Usage: "warm the images that this Dockerfile needs: a path, or an http(s) URL (repeatable)"},
		&cli.StringSliceFlag{Name: "build-arg", Category: groupImages, Usage: "a build argument of the Dockerfiles: NAME=VALUE, or NAME to take it from the environment (repeatable)"},
		&cli.StringFlag{Name: "target", Category: groupImages, Usage: "only what this stage of the Dockerfiles needs"},
		&cli.StringSliceFlag{Name: "platform", Aliases: []string{"customPlatform", "custom-platform"}, Category: groupImages, Usage: "OS/ARCH[/VARIANT], or all (repeatable, comma-separated)"},
	}
}

func warmFlags() []cli.Flag {
	return join(imageFlags(), []cli.Flag{
		&cli.StringFlag{Name: "lock", Category: groupImages, Usage: "warm the images in this file of warmer lock"},
		&cli.BoolFlag{Name: "referrers", Category: groupImages, Usage: "warm signatures and whatever else refers to an image, too"},
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Category: groupImages, Usage: "ask the registry about every image, and read every blob again"},
		&cli.DurationFlag{Name: "cache-ttl", Value: 14 * 24 * time.Hour, Category: groupImages, Usage: "how long a tag is taken for what it was without asking the registry"},
		&cli.BoolFlag{Name: "ignore-errors", Category: groupImages, Usage: "end with 0 as long as one image was warmed"},
		&cli.IntFlag{Name: "parallel", Value: 4, Category: groupImages, Usage: "how many layers are fetched at once"},
	}, unpackedFlags())
}

func unpackedFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "unpacked", Value: "auto", Category: groupStore, Usage: "keep layers unpacked as well, so that steps start at once: auto (where the volume allows), true or false"},
	}
}

func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cache-dir", Aliases: []string{"c"}, Value: "/cache", Category: groupStore, Usage: "the directory"},
	}
}

func gcFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "keep", Usage: "never remove this image, repository or pattern (repeatable)"},
		&cli.StringFlag{Name: "max-size", Usage: "remove images, the longest unused first, until the directory has no more than this, such as 20g"},
		&cli.StringFlag{Name: "unused-for", Usage: "remove images that nobody warmed or used for so long, such as 30d or 12h"},
		&cli.StringFlag{Name: "grace", Value: "1h", Usage: "leave alone what is younger than this, as it may be on its way"},
		&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
		&cli.BoolFlag{Name: "json", Usage: "say so as JSON"},
	}
}

func lockFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "strake.lock", Usage: "the lock file; - is stdout"},
		&cli.BoolFlag{Name: "check", Usage: "write nothing, and fail when the lock file is not what would be written"},
	}
}

func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "insecure-pull", Category: groupRegistry, Usage: "pull over plain HTTP"},
		&cli.StringSliceFlag{Name: "insecure-registry", Category: groupRegistry, Usage: "plain HTTP for this registry (repeatable)"},
		&cli.BoolFlag{Name: "skip-tls-verify-pull", Category: groupRegistry, Usage: "do not verify certificates"},
		&cli.StringSliceFlag{Name: "skip-tls-verify-registry", Category: groupRegistry, Usage: "do not verify certificates of this registry (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-certificate", Category: groupRegistry, Usage: "trust a CA for one registry: HOST=FILE (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-client-cert", Category: groupRegistry, Usage: "a client certificate for one registry: HOST=CERT,KEY (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-mirror", EnvVars: []string{"KANIKO_REGISTRY_MIRROR"}, Category: groupRegistry, Usage: "a mirror of Docker Hub: HOST[/PREFIX] (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-map", EnvVars: []string{"KANIKO_REGISTRY_MAP"}, Category: groupRegistry, Usage: "where a registry really is: FROM=TO[;FROM=TO] (repeatable, in order)"},
		&cli.BoolFlag{Name: "skip-default-registry-fallback", Category: groupRegistry, Usage: "never ask the origin when a mirror or map has no answer"},
		&cli.IntFlag{Name: "image-download-retry", Category: groupRegistry, Usage: "more attempts at downloading"},
	}
}

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "verbosity", Aliases: []string{"v"}, Value: "info", Category: groupLog, Usage: "trace, debug, info, warn, error, fatal or panic"},
		&cli.StringFlag{Name: "log-format", Value: "color", Category: groupLog, Usage: "text, color or json"},
		&cli.BoolFlag{Name: "log-timestamp", Category: groupLog, Usage: "put the time before log lines"},
	}
}
