package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warm"
	"github.com/strake-build/strake/shared/warmed"
)

// warm is what the program does without a subcommand.
func (c *command) warm(x *cli.Context) error {
	if x.NArg() > 0 {
		return &shared.UsageError{Err: fmt.Errorf("argument %q: no arguments are taken, only flags", x.Args().First())}
	}
	if done, err := c.enterNamespace(x.Context, x); done || err != nil {
		return err
	}
	c.notices()
	w, err := c.warmer(x)
	if err != nil {
		return err
	}
	if w.Registry, err = c.client(x); err != nil {
		return err
	}
	w.TTL, w.Force, w.Referrers, w.Parallel = x.Duration("cache-ttl"), x.Bool("force"), x.Bool("referrers"), x.Int("parallel")
	images, err := c.wanted(x.Context, x, w)
	if err != nil {
		return err
	}
	start := time.Now()
	results, err := w.Warm(x.Context, images)
	return c.summary(x.Context, results, err, x.Bool("ignore-errors"), time.Since(start))
}

// warmer opens the directory of the flags.
func (c *command) warmer(x *cli.Context) (*warm.Warmer, error) {
	s, err := store.Open(x.String("cache-dir"), store.Options{})
	if err != nil {
		return nil, fmt.Errorf("--cache-dir: %w", err)
	}
	w := &warm.Warmer{Store: s, Now: time.Now, Report: c.report}
	w.Prepare, err = c.prepare(x, s)
	return w, err
}

func (c *command) report(e warm.Event) {
	if !e.Fetched {
		c.log.Debug().Str("image", e.Ref).Str("digest", e.Digest.String()).Msg("a layer is there")
		return
	}
	c.log.Info().Str("image", e.Ref).Str("digest", e.Digest.String()).Dur("took", e.Took).
		Msgf("fetched a layer of %s", units.HumanSize(float64(e.Size)))
}

// summary says what became of each image.
func (c *command) summary(ctx context.Context, results []warm.Result, err error, ignore bool, took time.Duration) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	errs := []error{err}
	good := 0
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, r.Err)
			continue
		}
		good++
		how := "warmed"
		if r.Fresh {
			how = "is warm"
		}
		c.log.Info().Str("digest", r.Digest.String()).Strs("platforms", r.Platforms).Int64("fetched", r.Fetched).
			Int64("reused", r.Reused).Msgf("%s %s", r.Ref, how)
		fmt.Fprintf(c.stdout, "%s %s\n", r.Ref, r.Digest)
	}
	c.log.Debug().Dur("took", took).Msgf("%d of %d images", good, len(results))
	all := errors.Join(errs...)
	if all == nil || !ignore || good == 0 || err != nil {
		return all
	}
	c.log.Warn().Msg(all.Error())
	return nil
}

// lock writes down what the images are.
func (c *command) lock(x *cli.Context) error {
	client, err := c.client(x)
	if err != nil {
		return err
	}
	w := &warm.Warmer{Registry: client, Now: time.Now}
	images, err := c.wanted(x.Context, x, w)
	if err != nil {
		return err
	}
	lock, err := w.Lock(x.Context, images)
	if err != nil {
		return err
	}
	out := x.String("output")
	switch {
	case x.Bool("check"):
		old, err := warmed.ReadLock(out)
		if err != nil {
			return err
		}
		return errors.Join(warmed.Drift(old, lock)...)
	case out == "-":
		b, err := lock.Bytes()
		if err != nil {
			return err
		}
		_, err = c.stdout.Write(b)
		return err
	}
	if err := lock.Write(out); err != nil {
		return err
	}
	c.log.Info().Msgf("%d images in %s", len(lock.Images), out)
	return nil
}
