package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/cache"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/cli/progress"
	"github.com/strake-build/strake/shared/framed"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/stepcache"
	"github.com/strake-build/strake/shared/store"
)

const groupCache = "Cache"

// cacheFlags are kaniko's and ours. Those of warmed bases are not among them.
func cacheFlags() []flags.Flag {
	return []flags.Flag{
		{Name: "cache", Kind: flags.Bool, Group: groupCache, State: flags.Kept, Doc: "take results of steps from a cache, and keep them there"},
		{Name: "cache-repo", Value: "REPOSITORY|oci:DIR", Group: groupCache, State: flags.Kept, Doc: "the cache (default: DESTINATION/cache; without a destination, layers in the builder's own directory)"},
		{Name: "cache-from", Kind: flags.List, Value: "REPOSITORY|oci:DIR", Group: groupCache, Doc: "look here, too"},
		{Name: "cache-local", Value: "DIR", Group: groupCache, Doc: "a directory before the cache, so that layers are read from there once"},
		{Name: "no-push-cache", Kind: flags.Bool, Group: groupCache, State: flags.Kept, Doc: "look in the cache, and keep nothing there"},
		{Name: "cache-run-layers", Kind: flags.Bool, Default: "true", Group: groupCache, State: flags.Kept, Doc: "keep results of RUN and WORKDIR"},
		{Name: "cache-copy-layers", Kind: flags.Bool, Default: "true", Group: groupCache, State: flags.Fixed, Doc: "keep results of COPY and ADD", Note: "on by default, and files count by their content"},
		{Name: "cache-explain", Kind: flags.Bool, Group: groupCache, Doc: "say for each step whether it was found, and what has changed since the last build"},
		{Name: "cache-mounts", Kind: flags.Bool, Group: groupCache, Doc: "keep what is in cache mounts (RUN --mount=type=cache) in the cache, too, for builders that keep nothing themselves"},
		{Name: "cache-mounts-max-size", Default: "1g", Value: "SIZE", Group: groupCache, Doc: "how large one of them may be, compressed"},
		{Name: "cache-sign-key", Value: "FILE", Group: groupCache, Doc: "sign what is kept with this private key (PEM, ECDSA or Ed25519)"},
		verifyKeyFlag(),
	}
}

func verifyKeyFlag() flags.Flag {
	return flags.Flag{Name: "cache-verify-key", Kind: flags.List, Value: "FILE", Group: groupCache, Doc: "take only what one of these public keys (PEM) has signed"}
}

// caches makes the build's cache of the flags. name is the first destination's
// repository, or "".
func (c *command) caches(x *cli.Context, client *registry.Client, req *build.Request, name string) error {
	if !x.Bool("cache") {
		return nil
	}
	keys, err := cacheKeys(x)
	if err != nil {
		return &shared.UsageError{Err: err}
	}
	p := &places{client: client, keys: keys, readOnly: x.Bool("no-push-cache")}
	repo, more := cacheName(x, name, req.Dir), shared.Given(x, "cache-from")
	if x.Bool("offline") {
		var keep bool
		if repo, more, keep = c.nearCaches(x.String("cache-local"), repo, more); repo == "" {
			return nil
		}
		p.readOnly = p.readOnly || !keep
	}
	main, err := p.open("cache-repo", repo)
	if err != nil {
		return err
	}
	list := cache.Several{main}
	for _, from := range more {
		l, err := p.open("cache-from", from)
		if err != nil {
			return err
		}
		list = append(list, l)
	}
	b := build.Cache{Lookup: list, Store: main, NoRun: !x.Bool("cache-run-layers"), NoCopy: !x.Bool("cache-copy-layers"), TTL: x.Duration("cache-ttl")}
	if len(list) == 1 {
		b.Lookup = main
	}
	notes := main
	if dir := x.String("cache-local"); dir != "" && repo != layoutPrefix+dir {
		near, err := p.directory("cache-local", dir)
		if err != nil {
			return err
		}
		b.Lookup, b.Store, notes = &cache.Front{Near: near, Far: b.Lookup}, cache.Both{Near: near, Far: main}, near
	}
	if len(keys.Verify) > 0 && keys.Sign == nil && !p.readOnly {
		c.log.Info().Msg("--cache-verify-key without --cache-sign-key: nothing is kept, since nobody would take it")
		p.readOnly = true
	}
	if p.readOnly {
		b.Store = nil
	}
	if _, far := notes.(*cache.Repository); !far || x.Bool("cache-explain") {
		b.Notes = &lastBuild{cache.NoteIn(notes, buildName(x, name)), p.readOnly}
	}
	b.Explain = func(steps []stepcache.Outcome) { c.explainCache(x.Bool("cache-explain"), steps) }
	req.Cache = b
	if !x.Bool("cache-mounts") {
		return nil
	}
	size, err := units.RAMInBytes(x.String("cache-mounts-max-size"))
	if err != nil {
		return &shared.UsageError{Err: fmt.Errorf("--cache-mounts-max-size %s: not a size such as 500m or 10g", x.String("cache-mounts-max-size"))}
	}
	req.CacheMounts = build.CacheMounts{Lookup: b.Lookup, Store: b.Store, MaxSize: size}
	return nil
}

// nearCaches leaves out caches in registries, which may not be asked. Where that is
// the one that results are kept in, local takes its place, or else nothing is kept. No
// repo is no cache at all.
func (c *command) nearCaches(local, repo string, more []string) (near string, others []string, keep bool) {
	far := func(name string) bool {
		if strings.HasPrefix(name, layoutPrefix) {
			return false
		}
		c.log.Info().Msgf("--offline: the cache %s is in a registry, and is not used", name)
		return true
	}
	others = slices.DeleteFunc(slices.Clone(more), far)
	switch {
	case !far(repo):
		return repo, others, true
	case local != "":
		return layoutPrefix + local, others, true
	case len(others) > 0:
		return others[0], others[1:], false
	}
	return "", nil, false
}

// repository is the first destination without its tag, or "".
func (o *outputs) repository() string {
	if len(o.files.Destinations) == 0 {
		return ""
	}
	return o.files.Destinations[0].Repository.Name()
}

// cacheName is where the cache is.
func cacheName(x *cli.Context, destination, dir string) string {
	switch repo := x.String("cache-repo"); {
	case repo != "":
		return repo
	case destination != "":
		return destination + "/cache"
	}
	return layoutPrefix + filepath.Join(dir, "layers")
}

// buildName tells builds apart that have nothing to do with each other.
func buildName(x *cli.Context, destination string) string {
	return framed.New("build").String(destination).String(x.String("dockerfile")).Strings(x.StringSlice("target")...).
		Strings(x.StringSlice("platform")...).Sum()[:16]
}

// lastBuild is a note that may not be written.
type lastBuild struct {
	cache.Notes
	readOnly bool
}

func (n *lastBuild) SetNote(ctx context.Context, note []byte) error {
	if n.readOnly {
		return nil
	}
	return n.Notes.SetNote(ctx, note)
}

func (c *command) explainCache(all bool, steps []stepcache.Outcome) {
	if all {
		progress.ExplainCache(c.stderr, c.log, c.json, steps)
	}
	c.log.Info().Msg(progress.CacheSummary(steps))
}

// layoutPrefix begins the names of caches in directories.
const layoutPrefix = "oci:"

// places opens caches.
type places struct {
	client   *registry.Client
	keys     cache.Keys
	readOnly bool
}

func (p *places) open(flag, name string) (cache.Layers, error) {
	if dir, ok := strings.CutPrefix(name, layoutPrefix); ok {
		return p.directory(flag, strings.TrimPrefix(dir, "//"))
	}
	r, err := p.client.Repository(name)
	if err != nil {
		return nil, &shared.UsageError{Err: fmt.Errorf("--%s: %w", flag, err)}
	}
	return &cache.Repository{Repository: r, Keys: p.keys}, nil
}

func (p *places) directory(flag, dir string) (*cache.Directory, error) {
	s, err := store.Open(dir, store.Options{})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		s, err = store.Open(dir, store.Options{ReadOnly: true})
	}
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, dir, err)
	}
	return &cache.Directory{Store: s, Keys: p.keys}, nil
}

// cacheKeys reads the keys of the flags.
func cacheKeys(x *cli.Context) (k cache.Keys, err error) {
	if name := x.String("cache-sign-key"); name != "" {
		data, err := os.ReadFile(name)
		if err == nil {
			k.Sign, err = cache.ParseSigningKey(data)
		}
		if err != nil {
			return k, fmt.Errorf("--cache-sign-key %s: %w", name, err)
		}
	}
	for _, name := range shared.Given(x, "cache-verify-key") {
		data, err := os.ReadFile(name)
		var v *cache.VerifyingKey
		if err == nil {
			v, err = cache.ParseVerifyingKey(data)
		}
		if err != nil {
			return k, fmt.Errorf("--cache-verify-key %s: %w", name, err)
		}
		k.Verify = append(k.Verify, v)
	}
	return k, nil
}

// mostLost is how many layers may turn out to be lost before the cache is left alone.
const mostLost = 3

// withoutLost does a build again when a layer that the cache promised cannot be had:
// then without that layer, and in the end without the cache. What is on stdout
// already cannot be taken back.
func (c *command) withoutLost(req *build.Request, out *outputs, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		lost, ok := errors.AsType[*cache.LostError](err)
		if !ok || out.stdout || req.Cache.Lookup == nil || req.Cache.Distrusted[lost.Digest] {
			return err
		}
		c.log.Warn().Err(lost).Msg("the cache promised a layer that cannot be had; building without it")
		if n == mostLost {
			req.Cache.Lookup = nil
			continue
		}
		if req.Cache.Distrusted == nil {
			req.Cache.Distrusted = make(map[v1.Hash]bool)
		}
		req.Cache.Distrusted[lost.Digest] = true
	}
}
