package cli

import (
	"slices"

	"github.com/strake-build/strake/shared/cli/flags"
)

// The groups of flags that more than one program has.
const (
	GroupRegistry = "Registries"
	GroupLog      = "Logging and settings"
)

// Families are the beginnings of variables' names that are ours or kaniko's: one
// that nobody knows is reported.
func Families() []string { return []string{"STRAKE_", "FF_KANIKO_"} }

// RegistryFlags say how registries are reached, pulling and pushing.
func RegistryFlags() []flags.Flag {
	return slices.Concat([]flags.Flag{
		{Name: "insecure", Kind: flags.Bool, Group: GroupRegistry, State: flags.Kept, Doc: "push over plain HTTP"},
		{
			Name: "skip-tls-verify", Kind: flags.Bool, Group: GroupRegistry, State: flags.Kept,
			Doc: "do not verify certificates of registries, pushing and pulling",
		},
	}, PullFlags(), []flags.Flag{
		{
			Name: "image-fs-extract-retry", Kind: flags.Int, Default: "0", Group: GroupRegistry, State: flags.Kept,
			Doc: "how many times more the download of a base image's layer may break off",
		},
	})
}

// PullFlags say how registries are reached for pulling.
func PullFlags() []flags.Flag {
	return slices.Concat([]flags.Flag{
		{Name: "insecure-pull", Kind: flags.Bool, Group: GroupRegistry, State: flags.Kept, Doc: "pull over plain HTTP"},
		{
			Name: "skip-tls-verify-pull", Kind: flags.Bool, Group: GroupRegistry, State: flags.Fixed,
			Doc: "do not verify certificates when pulling", Note: "it works; kaniko reads it and never looks at it",
		},
	}, HostFlags(), []flags.Flag{
		{
			Name: "image-download-retry", Kind: flags.Int, Default: "0", Group: GroupRegistry, State: flags.Kept,
			Doc: "more attempts at downloading base images, besides the retries that every request has",
		},
	})
}

// HostFlags are about registries whatever is done there.
func HostFlags() []flags.Flag {
	return []flags.Flag{
		{
			Name: "insecure-registry", Kind: flags.List, Value: "HOST", Group: GroupRegistry, State: flags.Kept,
			Doc: "plain HTTP for this registry, both ways",
		},
		{
			Name: "skip-tls-verify-registry", Kind: flags.List, Value: "HOST", Group: GroupRegistry, State: flags.Kept,
			Doc: "do not verify certificates of this registry, both ways",
		},
		{
			Name: "registry-certificate", Kind: flags.Pairs, Value: "HOST=FILE", Group: GroupRegistry, State: flags.Fixed,
			Doc: "trust a CA for one registry", Note: "the CA is trusted for this registry alone, not for all of them",
		},
		{
			Name: "registry-client-cert", Kind: flags.Pairs, Value: "HOST=CERT,KEY", Group: GroupRegistry, State: flags.Kept,
			Doc: "a client certificate for one registry",
		},
		{
			Name: "registry-mirror", Kind: flags.List, Value: "HOST[/PREFIX]", Env: []string{"KANIKO_REGISTRY_MIRROR"}, Adds: true,
			Group: GroupRegistry, State: flags.Kept, Doc: "a mirror of Docker Hub, asked before it; in order",
		},
		{
			Name: "registry-map", Kind: flags.List, Value: "FROM=TO[;FROM=TO]", Env: []string{"KANIKO_REGISTRY_MAP"}, Adds: true,
			Group: GroupRegistry, State: flags.Fixed, Doc: "where a registry really is; in order",
			Note: "docker.io is known by that name, too, and both sides may have the beginning of a path",
		},
		{
			Name: "skip-default-registry-fallback", Kind: flags.Bool, Group: GroupRegistry, State: flags.Kept,
			Doc: "never ask the origin when a mirror or map has no answer",
		},
		{
			Name: "registry-token-service", Kind: flags.Pairs, Value: "REGISTRY=HOST", Group: GroupRegistry,
			Doc: "a token service of another domain that may have the credential of a registry",
		},
		{
			Name: "credential-helpers", Kind: flags.List, Value: "NAME", Group: GroupRegistry, State: flags.Kept,
			Doc: "where credentials may come from besides config files: env, google, ecr, acr, gitlab; empty for none (default: all of them)",
		},
		{
			Name: "registry-http1", Kind: flags.Bool, Env: []string{"FF_KANIKO_DISABLE_HTTP2"}, Group: GroupRegistry,
			Doc: "keep to HTTP/1.1 with registries, which some serve faster",
		},
	}
}

// LogFlags say what the log looks like, and where settings come from.
func LogFlags(config string) []flags.Flag {
	return []flags.Flag{
		{
			Name: "verbosity", Short: "v", Default: "info", Words: []string{"trace", "debug", "info", "warn", "error", "fatal", "panic"},
			Value: "LEVEL", Group: GroupLog, State: flags.Kept, Doc: "how much is logged",
		},
		{
			Name: "log-format", Default: "color", Words: []string{"text", "color", "json"}, Group: GroupLog, State: flags.Kept,
			Doc: "what the log looks like",
		},
		{Name: "log-timestamp", Kind: flags.Bool, Group: GroupLog, State: flags.Kept, Doc: "put the time before log lines"},
		{Name: "ci", Default: "auto", Words: CIKinds(), Group: GroupLog, Doc: "whose annotations and foldable groups the log has: auto looks at the environment"},
		flags.ConfigFlag(GroupLog, config),
	}
}

// KanikoVariables are kaniko's variables that need nothing of ours, and say so.
func KanikoVariables() []flags.Variable {
	out := []flags.Variable{
		{Name: "KANIKO_IGNORE_ASSERTIONS", State: flags.Noted, Doc: "there are no assertions to be turned into warnings"},
		{Name: "STACKLOG_PATH", State: flags.Noted, Doc: "no stacks are sampled; SIGQUIT prints them once"},
	}
	for _, name := range []string{
		"KANIKO_TELEMETRY_ENDPOINT", "KANIKO_TELEMETRY_OMIT_DOCKERFILE", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES",
		"OTEL_SERVICE_NAME", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
	} {
		out = append(out, flags.Variable{Name: name, State: flags.Noted, Doc: "no traces are sent; the times of steps stand in --metadata-file"})
	}
	for _, name := range featureFlags() {
		out = append(out, flags.Variable{Name: "FF_KANIKO_" + name, State: flags.Noted, Doc: "not needed; what is right is done always"})
	}
	return out
}

// featureFlags are the corrections that kaniko's fork hides behind FF_KANIKO_ names.
func featureFlags() []string {
	return []string{
		"BUILDKIT_ARG_ENV_PRECEDENCE", "CLEAN_KANIKO_DIR", "DEPRECATE_INTER_STAGE_RESTORE", "NO_PROPAGATE_ANNOTATIONS", "OCI_WARMER",
		"PRESERVE_HARDLINKS", "PRESERVE_MOUNTED_PATHS", "RELATIVE_LINK_TARGETS", "RUN_MOUNT_BIND", "SECUREJOIN_EXTRACTION",
		"VOLUME_SKIP_MKDIR", "WARMER_CACHE_LOCK",

		"CROSS_REPO_MOUNT", "EXPAND_HEREDOC", "HASH_DIR_FRAMING", "INFER_CROSS_STAGE_CACHE_KEY", "PATH_SCOPED_REGISTRY_AUTH",
		"PRECOMPILE_DOCKERIGNORE", "REPRODUCIBLE_PRESERVE_BASE_LAYERS", "RESOLVE_CACHE_KEY", "ROLLING_CACHE_KEY", "RUN_HONOR_GROUP",
		"RUN_VIA_TINI", "SHARED_BASE_CACHE", "SKIP_CACHED_STAGES", "SKIP_RELABEL_RECOMPRESS", "SKIP_WRITE_WHITEOUTS", "UNTAR_SKIP_ROOT",

		"CHOWN_ON_IMPLICIT_DIRS", "COPY_AS_ROOT", "COPY_CHMOD_ON_IMPLICIT_DIRS", "OCI_SCRATCH_BASE", "SCOPED_DOCKERIGNORE",
		"IGNORE_CACHED_MANIFEST", "CACHE_PROBE_AFTER_MISS", "CACHE_LOOKAHEAD",

		"ADD_CHECKSUM", "PLATFORM_CACHE_KEY", "NATIVE_COPY", "COPY_SKIP_SPECIAL_FILES", "POOL_REGISTRY_CONNECTIONS",
	}
}
