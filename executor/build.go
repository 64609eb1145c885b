package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/export"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/sandbox"
)

// build is what the program does without a subcommand.
func (c *command) build(x *cli.Context) (err error) {
	if x.NArg() > 0 {
		return &shared.UsageError{Err: argumentError(x.Args().First())}
	}
	ctx := c.log.WithContext(x.Context)
	req, err := request(x)
	if err != nil {
		return err
	}
	c.dockerfile = checkedFile(req)
	if x.Bool("dryrun") {
		return c.plan(ctx, x, req)
	}
	if done, err := c.enterNamespace(ctx, req.Isolation.View); done || err != nil {
		return err
	}
	if err := sandbox.Conceal(); err != nil {
		return err
	}
	client, err := c.client(x)
	if err != nil {
		return err
	}
	out, err := c.outputs(x, client)
	if err != nil {
		return err
	}
	if !x.Bool("skip-push-permission-check") {
		if err := out.check(ctx); err != nil {
			return err
		}
	}
	from, err := c.bases(x, client)
	if err != nil {
		return err
	}
	c.notices()
	if err := c.caches(x, client, &req, out.repository()); err != nil {
		return err
	}
	reaper, err := sandbox.BecomeReaper()
	if err != nil {
		return err
	}
	return c.withoutLost(&req, out, func() error { return c.produce(ctx, x, req, from, reaper, out) })
}

// produce builds and exports.
func (c *command) produce(ctx context.Context, x *cli.Context, req build.Request, from bases, reaper *sandbox.Reaper, out *outputs) (err error) {
	start := time.Now()
	b := &build.Builder{Registry: from.client, Images: from.images, Kept: from.kept, Progress: c.progress, Warn: c.warn, Now: time.Now, Reaper: reaper, Offline: x.Bool("offline")}
	if out.push != nil {
		// Uploads go on after the build, until the export waits for them.
		uploads, cancel := context.WithCancel(ctx)
		defer out.push.Wait()
		defer cancel()
		b.Layer = func(_ context.Context, l *layer.Blob) error {
			out.push.Upload(uploads, l)
			return nil
		}
	}
	if x.Bool("print-plan") {
		b.Planned = func(p build.Plan) { fmt.Fprint(c.stderr, p) }
	}
	res, err := c.runGrouped(ctx, b, req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Close()) }()
	built := time.Since(start)
	out.files.Times = c.progress.Times()
	out.files.Extra = metadata(c.progress.Times(), res.Warnings, truth(os.Getenv("BUILDX_METADATA_WARNINGS")))
	told, err := provenanceKeys(res.Attested, os.Getenv(metadataProvenance))
	if err != nil {
		return err
	}
	maps.Copy(out.files.Extra, told)
	if err := out.attach(x, res.Attested); err != nil {
		return err
	}
	if err := export.Export(ctx, res.Artifact, slices.Concat(out.ways, out.documents), out.files); err != nil {
		return err
	}
	d, err := res.Artifact.Digest()
	if err != nil {
		return err
	}
	if err := c.ci.Output(c.stderr, d.String()); err != nil {
		return err
	}
	c.log.Info().Str("digest", d.String()).Dur("build", built).Dur("total", time.Since(start)).
		Msgf("built %s in %.1fs", d, time.Since(start).Seconds())
	switch {
	case out.stdout: // has the archive already
		return nil
	case len(out.files.Destinations) == 0 || out.push == nil:
		fmt.Fprintln(c.stdout, d)
		return nil
	}
	for _, n := range out.files.Destinations {
		fmt.Fprintf(c.stdout, "%s@%s\n", n.Repository.Name(), d)
	}
	return nil
}

// runGrouped builds, in a part of the log that the CI system can fold.
func (c *command) runGrouped(ctx context.Context, b *build.Builder, req build.Request) (*build.Result, error) {
	if c.annotates(zerolog.InfoLevel) {
		const group = "build"
		c.ci.Open(c.stderr, group, "Build "+c.dockerfile, time.Now())
		defer func() { c.ci.Close(c.stderr, group, time.Now()) }()
	}
	return b.Run(ctx, req)
}

// client makes the registry client of the flags.
func (c *command) client(x *cli.Context) (*registry.Client, error) {
	o, err := shared.Registries(x, shared.Environment{
		Variables: os.Environ(), Destinations: x.StringSlice("destination"),
		Notice: func(line string) { c.log.Warn().Msg(line) },
	})
	if err != nil {
		return nil, err
	}
	return shared.Client(o)
}

// outputs is where the image goes.
type outputs struct {
	ways []export.Exporter
	push *export.Push // nil when nothing is pushed
	// documents are the files of what is told of the image.
	documents []export.Exporter
	check     func(context.Context) error
	files     *export.Files
	// stdout tells that the image itself goes there.
	stdout bool
}

func (c *command) outputs(x *cli.Context, client *registry.Client) (*outputs, error) {
	names, errs := destinations(x)
	noPush := x.Bool("no-push")
	tarPath, layout := x.String("tar-path"), x.String("oci-layout-path")
	if len(names) == 0 && !noPush && tarPath == "" && layout == "" {
		errs = append(errs, errors.New("--destination: none given; give one, or --no-push, --tar-path or --oci-layout-path"))
	}
	for _, f := range []string{"image-name-with-digest-file", "image-name-tag-with-digest-file", "push-by-digest"} {
		if len(names) == 0 && x.IsSet(f) && x.String(f) != "" {
			errs = append(errs, fmt.Errorf("--%s: needs a --destination", f))
		}
	}
	out := &outputs{check: func(context.Context) error { return nil }, files: &export.Files{
		Digest: x.String("digest-file"), NameDigest: x.String("image-name-with-digest-file"),
		NameTagDigest: x.String("image-name-tag-with-digest-file"), Metadata: x.String("metadata-file"), Timings: x.String("timings-file"), Destinations: names,
	}}
	if strings.HasPrefix(out.files.Timings, "gs://") {
		errs = append(errs, fmt.Errorf("--timings-file %s: buckets are not written to; give a file", out.files.Timings))
	}
	if dir := os.Getenv("BUILDER_OUTPUT"); dir != "" {
		out.files.Images = filepath.Join(dir, "images")
	}
	if tarPath != "" {
		out.stdout = tarPath == "-"
		out.ways = append(out.ways, &export.Tar{Path: tarPath, Stdout: c.stdout, Names: names})
	}
	if layout != "" {
		out.ways = append(out.ways, &export.Layout{Path: layout, Names: names})
	}
	if len(names) > 0 && !noPush {
		if err := c.pushTo(x, client, names, out); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &shared.UsageError{Err: err}
	}
	return out, nil
}

// destinations reads where the image goes, and whether it gets a tag there.
func destinations(x *cli.Context) (names []export.Destination, errs []error) {
	for _, d := range x.StringSlice("destination") {
		n, err := export.ParseDestination(d)
		if err == nil && x.Bool("push-by-digest") {
			if strings.HasSuffix(n.Text, ":"+n.Tag) {
				err = fmt.Errorf("--push-by-digest: destination %q has a tag; give the repository alone", d)
			}
			n.Tag = ""
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		names = append(names, n)
	}
	return names, errs
}

// pushTo adds the destinations in registries.
func (c *command) pushTo(x *cli.Context, client *registry.Client, names []export.Destination, out *outputs) error {
	push := &export.Push{Retries: x.Int("push-retry"), IgnoreImmutable: x.Bool("push-ignore-immutable-tag-errors"), Report: c.sent}
	var checks []func(context.Context) error
	for _, n := range names {
		p, err := client.Pusher(n.String())
		if err != nil {
			return err
		}
		push.Targets = append(push.Targets, export.Target{Destination: n, Pusher: p})
		checks = append(checks, p.Check)
	}
	out.push, out.ways = push, append(out.ways, push)
	out.check = func(ctx context.Context) error {
		var errs []error
		for _, f := range checks {
			errs = append(errs, f(ctx))
		}
		return errors.Join(errs...)
	}
	return nil
}

// sent logs what went to a registry.
func (c *command) sent(s export.Sent) {
	e := c.log.Debug()
	switch {
	case s.Err != nil && !s.Ignored:
		e = c.log.Error().Err(s.Err)
	case s.Err != nil:
		e = c.log.Warn().Err(s.Err)
	case !s.Layer:
		e = c.log.Info()
	}
	what := "pushed " + s.Name
	switch {
	case s.Layer:
		what = "pushed a layer to " + s.Name
	case s.Referrer:
		what = "pushed attestations to " + s.Name
	}
	if s.Err != nil {
		what = "did not push to " + s.Name
	}
	e.Str("digest", s.Digest.String()).Dur("took", s.Took).Msg(what)
}
