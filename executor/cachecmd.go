package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/cache"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
)

// cacheCommands look after caches.
func cacheCommands() []flags.Command {
	place := []flags.Flag{
		{Name: "cache-repo", Value: "REPOSITORY|oci:DIR", Group: groupCache, Doc: "the cache"},
		verifyKeyFlag(),
		{Name: "mounts", Kind: flags.Bool, Group: groupCache, Local: true, Doc: "the directories of cache mounts in the builder's own directory, in place of a cache of steps (ls and gc)"},
		{Name: "kaniko-dir", Env: []string{"KANIKO_DIR"}, Value: "DIR", Group: groupCache, Doc: "the builder's own directory, for --mounts"},
		{Name: "json", Kind: flags.Bool, Group: groupCache, Local: true, Doc: "as JSON"},
	}
	place = slices.Concat(place, registryFlags(), shared.LogFlags(configFile))
	gc := slices.Concat([]flags.Flag{
		{Name: "max-age", Kind: flags.Duration, Default: "0s", Group: groupCache, Local: true, Doc: "take what nobody used for so long (in a repository: made)"},
		{Name: "max-size", Value: "SIZE", Group: groupCache, Local: true, Doc: "take the oldest until the rest is as small as this: 10g"},
		{Name: "keep", Kind: flags.List, Value: "STEP", Group: groupCache, Local: true, Doc: "keep steps whose names begin so, or match this pattern"},
		{Name: "dry-run", Kind: flags.Bool, Group: groupCache, Local: true, Doc: "only say what would be done"},
	}, place)
	return []flags.Command{
		{Name: "cache ls", Doc: "list what is in a cache of steps, the oldest first", Flags: place},
		{Name: "cache verify", Doc: "read all of a cache, and compare it with its digests", Flags: place, Long: "Ends with 76 where entries are no good; from a directory they are taken out of use."},
		{Name: "cache gc", Doc: "take from a cache what is old, too much, or no good", Flags: gc},
	}
}

// onCache opens the cache that a command is about.
func (c *command) onCache(do func(*cli.Context, cache.Place) error) cli.ActionFunc {
	return func(x *cli.Context) error {
		name := x.String("cache-repo")
		if x.Bool("mounts") && name == "" && x.NArg() == 0 {
			return c.onMounts(x)
		}
		if name == "" || x.NArg() > 0 {
			return &shared.UsageError{Err: errors.New("--cache-repo: say which cache: a repository, or oci:DIRECTORY")}
		}
		keys, err := cacheKeys(x)
		if err != nil {
			return &shared.UsageError{Err: err}
		}
		client, err := c.client(x)
		if err != nil {
			return err
		}
		l, err := (&places{client: client, keys: keys}).open("cache-repo", name)
		if err != nil {
			return err
		}
		place, ok := l.(cache.Place)
		if !ok {
			return fmt.Errorf("cache %s cannot be looked after", l)
		}
		return do(x, place)
	}
}

func (c *command) cacheList(x *cli.Context, p cache.Place) error {
	list, err := p.List(x.Context)
	if err != nil {
		return err
	}
	return c.printEntries(x, list)
}

func (c *command) printEntries(x *cli.Context, list []cache.Info) error {
	if x.Bool("json") {
		e := json.NewEncoder(c.stdout)
		for _, i := range list {
			if err := e.Encode(i); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, i := range list {
		step := strings.Map(onOneLine, i.Step)
		if i.Problem != "" {
			step += " (" + strings.Map(onOneLine, i.Problem) + ")"
		}
		fmt.Fprintf(w, "%.12s\t%s\t%s\t%s\t%s\n", i.Key, i.Created.Format(time.DateTime), units.HumanSize(float64(i.Size)), i.Platform, step)
	}
	return w.Flush()
}

// onOneLine keeps what strangers wrote on its line.
func onOneLine(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return ' '
	}
	return r
}

func (c *command) cacheVerify(x *cli.Context, p cache.Place) error {
	list, err := p.Verify(x.Context)
	if err != nil || len(list) == 0 {
		return err
	}
	return errors.Join(fmt.Errorf("cache %s: %d entries are no good: %w", p, len(list), layer.ErrIntegrity), c.printEntries(x, list))
}

func (c *command) cacheCollect(x *cli.Context, p cache.Place) error {
	size, err := maxSize(x)
	if err != nil {
		return err
	}
	out, err := p.Collect(x.Context, cache.Policy{
		MaxAge: x.Duration("max-age"), MaxSize: size, Keep: x.StringSlice("keep"), DryRun: x.Bool("dry-run"),
	})
	if err != nil {
		return err
	}
	return c.collected(x, out)
}

func (c *command) collected(x *cli.Context, out cache.Collected) error {
	if x.Bool("json") {
		return json.NewEncoder(c.stdout).Encode(out)
	}
	_, err := fmt.Fprintf(c.stdout, "%d entries, %s\n", out.Entries, units.HumanSize(float64(out.Bytes)))
	return err
}

func maxSize(x *cli.Context) (int64, error) {
	s := x.String("max-size")
	if s == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(s)
	if err != nil || n <= 0 {
		return 0, &shared.UsageError{Err: fmt.Errorf("--max-size %s: not a size such as 500m or 10g", s)}
	}
	return n, nil
}

// onMounts lists or collects the directories of cache mounts.
func (c *command) onMounts(x *cli.Context) error {
	p := &parser{x: x}
	caches := &run.Caches{Dir: filepath.Join(p.dir(), "mounts")}
	if err := errors.Join(p.errs...); err != nil {
		return &shared.UsageError{Err: err}
	}
	switch x.Command.Name {
	case "cache ls":
		list, err := caches.List()
		if err != nil {
			return err
		}
		return c.printMounts(x, list)
	case "cache gc":
		size, err := maxSize(x)
		if err != nil {
			return err
		}
		gone, err := caches.Collect(x.Context, x.Duration("max-age"), size, x.Bool("dry-run"))
		if err != nil {
			return err
		}
		out := cache.Collected{Entries: len(gone)}
		for _, i := range gone {
			out.Bytes += i.Size
		}
		return c.collected(x, out)
	}
	return &shared.UsageError{Err: errors.New("--mounts: cache mounts have no digests to compare them with; use ls or gc")}
}

func (c *command) printMounts(x *cli.Context, list []run.CacheInfo) error {
	for _, i := range list {
		var err error
		if x.Bool("json") {
			err = json.NewEncoder(c.stdout).Encode(i)
		} else {
			_, err = fmt.Fprintf(c.stdout, "%-36s %s  %s\n", i.Name, i.Used.Format(time.DateTime), units.HumanSize(float64(i.Size)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
