package main

import (
	"github.com/urfave/cli/v2"
)

// The groups in which the help shows the flags.
const (
	groupBuild    = "Build"
	groupOutput   = "Output"
	groupRun      = "RUN steps"
	groupSnapshot = "Snapshots and layers"
	groupRegistry = "Registries"
	groupLog      = "Logging"
)

// buildFlags are the flags of a build: kaniko's by their names, BuildKit's and
// buildx's by theirs.
func buildFlags() []cli.Flag {
	var all []cli.Flag
	for _, group := range [][]cli.Flag{contextFlags(), stepFlags(), layerFlags(), outputFlags(), registryFlags(), logFlags()} {
		all = append(all, group...)
	}
	return all
}

func contextFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "dockerfile", Aliases: []string{"f"}, Value: "Dockerfile", Category: groupBuild, Usage: "the Dockerfile: a path, or a path inside the context"},
		&cli.StringFlag{Name: "context", Aliases: []string{"c"}, Value: "/workspace/", Category: groupBuild, Usage: "the build context: a directory, or dir://PATH"},
		&cli.StringFlag{Name: "context-sub-path", Category: groupBuild, Usage: "a folder inside the context to use as the context"},
		&cli.StringSliceFlag{Name: "build-arg", Category: groupBuild, Usage: "set a build argument: NAME=VALUE, or NAME to take it from the environment (repeatable)"},
		&cli.StringSliceFlag{Name: "target", Category: groupBuild, Usage: "build this stage, by name"},
		&cli.StringSliceFlag{Name: "custom-platform", Aliases: []string{"customPlatform", "platform"}, Category: groupBuild, Usage: "build for OS/ARCH[/VARIANT]; several make an index (repeatable, comma-separated)"},
		&cli.StringSliceFlag{Name: "label", Category: groupBuild, Usage: "set a label of the image: KEY=VALUE (repeatable)"},
		&cli.StringSliceFlag{Name: "annotation", Category: groupBuild, Usage: "set an annotation: [manifest:|index:]KEY=VALUE (repeatable)"},
		&cli.StringSliceFlag{Name: "build-context", Category: groupBuild, Usage: "a named context: NAME=DIRECTORY|docker-image://REF|oci-layout://DIR[:TAG|@DIGEST]|https://…|git… (repeatable)"},
		&cli.BoolFlag{Name: "no-cache", Category: groupBuild, Usage: "do not use results of earlier builds"},
		&cli.StringFlag{Name: "kaniko-dir", EnvVars: []string{"KANIKO_DIR"}, Category: groupBuild, Usage: "the builder's own directory (default: /kaniko where it exists, else strake in the user's cache directory)"},
		&cli.StringSliceFlag{Name: "opt", Category: groupBuild, Usage: "an option of BuildKit's Dockerfile frontend: KEY=VALUE (repeatable)"},
	}
}

func stepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "secret", Category: groupRun, Usage: "offer a secret: id=NAME[,src=FILE|,env=VARIABLE] (repeatable)"},
		&cli.StringSliceFlag{Name: "ssh", Category: groupRun, Usage: "offer an SSH agent: default, or NAME[=SOCKET|KEY[,KEY]] (repeatable)"},
		&cli.StringFlag{Name: "network", Category: groupRun, Usage: "network of RUN steps: default, none or host"},
		&cli.StringSliceFlag{Name: "add-host", Category: groupRun, Usage: "a line for /etc/hosts of RUN steps: NAME:IP (repeatable)"},
		&cli.StringFlag{Name: "hostname", Category: groupRun, Usage: "hostname of RUN steps"},
		&cli.StringFlag{Name: "shm-size", Category: groupRun, Usage: "size of /dev/shm in RUN steps, such as 64m"},
		&cli.StringSliceFlag{Name: "ulimit", Category: groupRun, Usage: "a limit of RUN steps: TYPE=SOFT[:HARD] (repeatable)"},
		&cli.StringSliceFlag{Name: "allow", Category: groupRun, Usage: "grant an entitlement: network.host (repeatable)"},
		&cli.StringFlag{Name: "isolation", Value: "auto", Category: groupRun, Usage: "how RUN gets its root: auto, overlay, bind, inplace or chroot (executor doctor tells what works here)"},
		&cli.StringFlag{Name: "identity", Value: "auto", Category: groupRun, Usage: "who RUN's users are: auto, real or emulated"},
		&cli.StringFlag{Name: "overlay-memory", Category: groupRun, Usage: "where no volume takes an overlay, keep layers in memory, up to this size: 2g"},
		&cli.BoolFlag{Name: "force", Category: groupRun, Usage: "accepted; a root that is not the builder's own is not replaced all the same"},
		&cli.BoolFlag{Name: "cleanup", Category: groupRun, Usage: "empty the container's root after a build in place; the next build does so anyway"},
	}
}

func layerFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "single-snapshot", Category: groupSnapshot, Usage: "put all changes of the final stage into one layer"},
		&cli.StringFlag{Name: "snapshot-mode", Aliases: []string{"snapshotMode"}, Value: "full", Category: groupSnapshot, Usage: "full, redo or time; all give the one correct mode"},
		&cli.BoolFlag{Name: "use-new-run", Category: groupSnapshot, Usage: "accepted; the one correct mode is used"},
		&cli.StringSliceFlag{Name: "ignore-path", Category: groupSnapshot, Usage: "leave a path out of layers (repeatable)"},
		&cli.BoolFlag{Name: "reproducible", Category: groupSnapshot, Usage: "the same input gives the same digest: times become SOURCE_DATE_EPOCH, or 1970"},
		&cli.StringFlag{Name: "compression", Category: groupSnapshot, Usage: "of layers: gzip (default), zstd or none"},
		&cli.IntFlag{Name: "compression-level", Value: -1, Category: groupSnapshot, Usage: "of layers; -1 is the usual one"},
	}
}

func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "destination", Aliases: []string{"d"}, Category: groupOutput, Usage: "push to this reference (repeatable)"},
		&cli.BoolFlag{Name: "no-push", EnvVars: []string{"KANIKO_NO_PUSH"}, Category: groupOutput, Usage: "build without pushing"},
		&cli.StringFlag{Name: "tar-path", Aliases: []string{"tarPath"}, Category: groupOutput, Usage: "save the image as a tar that docker load and podman load take"},
		&cli.StringFlag{Name: "oci-layout-path", Category: groupOutput, Usage: "save the image as an OCI layout directory"},
		&cli.StringFlag{Name: "image-format", Category: groupOutput, Usage: "oci (default) or docker"},
		&cli.StringFlag{Name: "digest-file", Category: groupOutput, Usage: "write the image's digest to this file"},
		&cli.StringFlag{Name: "image-name-with-digest-file", Category: groupOutput, Usage: "write REPOSITORY@DIGEST lines to this file"},
		&cli.StringFlag{Name: "image-name-tag-with-digest-file", Category: groupOutput, Usage: "write REPOSITORY:TAG@DIGEST lines to this file"},
		&cli.StringFlag{Name: "metadata-file", Category: groupOutput, Usage: "write what was built as JSON, with buildx's keys, to this file"},
		&cli.BoolFlag{Name: "push-ignore-immutable-tag-errors", Category: groupOutput, Usage: "a tag that may not move and exists is no error"},
		&cli.BoolFlag{Name: "skip-push-permission-check", Category: groupOutput, Usage: "do not try before the build whether the push is allowed"},
	}
}

func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "insecure", Category: groupRegistry, Usage: "push over plain HTTP"},
		&cli.BoolFlag{Name: "insecure-pull", Category: groupRegistry, Usage: "pull over plain HTTP"},
		&cli.StringSliceFlag{Name: "insecure-registry", Category: groupRegistry, Usage: "plain HTTP for this registry (repeatable)"},
		&cli.BoolFlag{Name: "skip-tls-verify", Category: groupRegistry, Usage: "do not verify certificates of registries"},
		&cli.BoolFlag{Name: "skip-tls-verify-pull", Category: groupRegistry, Usage: "do not verify certificates when pulling"},
		&cli.StringSliceFlag{Name: "skip-tls-verify-registry", Category: groupRegistry, Usage: "do not verify certificates of this registry (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-certificate", Category: groupRegistry, Usage: "trust a CA for one registry: HOST=FILE (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-client-cert", Category: groupRegistry, Usage: "a client certificate for one registry: HOST=CERT,KEY (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-mirror", EnvVars: []string{"KANIKO_REGISTRY_MIRROR"}, Category: groupRegistry, Usage: "a mirror of Docker Hub: HOST[/PREFIX] (repeatable)"},
		&cli.StringSliceFlag{Name: "registry-map", EnvVars: []string{"KANIKO_REGISTRY_MAP"}, Category: groupRegistry, Usage: "where a registry really is: FROM=TO[;FROM=TO] (repeatable, in order)"},
		&cli.BoolFlag{Name: "skip-default-registry-fallback", Category: groupRegistry, Usage: "never ask the origin when a mirror or map has no answer"},
		&cli.StringSliceFlag{Name: "registry-token-service", Category: groupRegistry, Usage: "a token service that may have the credential of a registry: REGISTRY=HOST (repeatable)"},
		&cli.StringSliceFlag{Name: "credential-helpers", Category: groupRegistry, Usage: "where credentials may come from besides config files: env, google, ecr, acr, gitlab; empty for none (default: all)"},
		&cli.IntFlag{Name: "image-download-retry", Category: groupRegistry, Usage: "more attempts at downloading base images"},
		&cli.IntFlag{Name: "push-retry", Category: groupRegistry, Usage: "more attempts at pushing"},
	}
}

func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "verbosity", Aliases: []string{"v"}, Value: "info", Category: groupLog, Usage: "trace, debug, info, warn, error, fatal or panic"},
		&cli.StringFlag{Name: "log-format", Value: "color", Category: groupLog, Usage: "text, color or json"},
		&cli.BoolFlag{Name: "log-timestamp", Category: groupLog, Usage: "put the time before log lines"},
	}
}
