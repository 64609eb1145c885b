package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/unpacked"
	"github.com/strake-build/strake/shared/warmed"
)

const groupWarmed = "Warmed base images"

// defaultCacheDir is where kaniko's users mount the volume.
const defaultCacheDir = "/cache"

func warmedFlags() []flags.Flag {
	return []flags.Flag{
		{
			Name: "cache-dir", Default: defaultCacheDir, Value: "DIR", Group: groupWarmed, State: flags.Fixed,
			Doc: "take base images from this directory, which the warmer fills; it is only read", Note: "--cache is not needed for it; tags and digests of indexes resolve, too",
		},
		{
			Name: "cache-ttl", Kind: flags.Duration, Default: "336h", Group: groupWarmed, State: flags.Fixed,
			Doc: "how old a step's result in the cache may be, and how long a tag stays what it was when it was warmed", Note: "what a digest names has no age",
		},
		{Name: "offline", Kind: flags.Bool, Group: groupWarmed, Doc: "fetch nothing: base images come from --cache-dir alone, results of steps from directories; what is missing is listed"},
		{Name: "lock", Value: "FILE", Group: groupWarmed, Doc: "build by the digests in this file of warmer lock; a base image that is not in it fails the build"},
	}
}

// bases is where base images come from.
type bases struct {
	client *registry.Client
	images op.Resolver
	kept   tree.Kept // nil where nothing is unpacked already
}

// bases finds base images in the warmed directory, then in registries.
func (c *command) bases(x *cli.Context, client *registry.Client) (bases, error) {
	b, err := c.warmedBases(x, client)
	if err != nil || x.String("lock") == "" {
		return b, err
	}
	lock, err := warmed.ReadLock(x.String("lock"))
	if err != nil {
		return b, &shared.UsageError{Err: fmt.Errorf("--lock: %w", err)}
	}
	b.images = &warmed.Pinned{Lock: lock, Next: b.images}
	return b, nil
}

func (c *command) warmedBases(x *cli.Context, client *registry.Client) (bases, error) {
	online := bases{client: client, images: client}
	dir, offline := x.String("cache-dir"), x.Bool("offline")
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	nobody := errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrNotStore)
	switch {
	case err != nil && offline:
		return bases{}, &shared.UsageError{Err: fmt.Errorf("--offline: --cache-dir: %w", err)}
	case nobody && !x.IsSet("cache-dir"):
		return online, nil
	case errors.Is(err, fs.ErrNotExist):
		c.log.Warn().Msgf("--cache-dir %s: there is no such directory; base images come from registries", dir)
		return online, nil
	case err != nil:
		return bases{}, fmt.Errorf("--cache-dir: %w", err)
	}
	notice := func(line string) { c.log.Warn().Msg(line) }
	i := &warmed.Images{
		Store: s, TTL: x.Duration("cache-ttl"), Now: time.Now,
		Notice: notice,
	}
	if !offline {
		i.Registry = client
	}
	return bases{client: client, images: i, kept: &unpacked.Keeper{Store: s, Notice: notice}}, nil
}
