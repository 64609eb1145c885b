package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warm"
)

// readable opens the directory to look at it. Where it can be written, what is
// found to be wrong is set aside.
func readable(x *cli.Context, repair bool) (*store.Store, error) {
	dir := x.String("cache-dir")
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("--cache-dir: %w", err)
	}
	if !repair {
		return s, nil
	}
	if rw, err := store.Open(dir, store.Options{}); err == nil {
		return rw, nil
	}
	return s, nil
}

// row is a line of ls.
type row struct {
	store.Record
	Platforms []string `json:"platforms"`
	Bytes     int64    `json:"bytes"`
	Complete  bool     `json:"complete"`
}

func (c *command) list(x *cli.Context) error {
	s, err := readable(x, false)
	if err != nil {
		return err
	}
	refs, err := s.Refs()
	if err != nil {
		return err
	}
	rows := make([]row, 0, len(refs))
	for _, r := range refs {
		rows = append(rows, describe(x, s, r))
	}
	if x.Bool("json") {
		return json.NewEncoder(c.stdout).Encode(rows)
	}
	tw := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "IMAGE\tDIGEST\tPLATFORMS\tSIZE\tWARMED")
	now := time.Now()
	for _, r := range rows {
		age := "at an unknown time"
		if a := r.Age(now); a < 1<<62 {
			age = units.HumanDuration(a) + " ago"
		}
		platforms := strings.Join(r.Platforms, ",")
		switch {
		case !r.Complete:
			platforms = "(incomplete)"
		case r.Subject != nil:
			platforms = "(about " + r.Subject.String()[:19] + ")"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.Ref, r.Root.Digest.String()[:19], platforms, units.HumanSize(float64(r.Bytes)), age)
	}
	return tw.Flush()
}

func describe(x *cli.Context, s *store.Store, r store.Record) row {
	out := row{Record: r}
	parts, err := s.Parts(r.Root)
	if err != nil {
		return out
	}
	out.Complete = true
	for _, p := range parts {
		out.Complete = out.Complete && s.Has(p)
		out.Bytes += p.Size
	}
	images, err := warm.Platforms(x.Context, s, r)
	if err != nil {
		out.Complete = false
	}
	for _, img := range images {
		out.Platforms = append(out.Platforms, img.Platform.String())
	}
	return out
}

func (c *command) verify(x *cli.Context) error {
	s, err := readable(x, true)
	if err != nil {
		return err
	}
	blobs, bad, err := warm.Verify(x.Context, s)
	if err != nil {
		return err
	}
	if x.Bool("json") {
		if bad == nil {
			bad = []warm.Damage{}
		}
		if err := json.NewEncoder(c.stdout).Encode(map[string]any{"blobs": blobs, "damaged": bad}); err != nil {
			return err
		}
	}
	for _, d := range bad {
		c.log.Error().Str("what", d.What).Msg(d.Err)
	}
	if len(bad) > 0 {
		how := "warm them again"
		if s.ReadOnly() {
			how = "they stay, as nothing can be written here; warm them again from where it can"
		}
		c.log.Error().Msgf("%d of %d blobs and names are damaged: %s", len(bad), blobs, how)
		return exitStatus(shared.ExitIntegrity)
	}
	c.log.Info().Msgf("%d blobs are what their digests say", blobs)
	return nil
}

func (c *command) collect(x *cli.Context) error {
	p, err := policy(x)
	if err != nil {
		return err
	}
	if _, err := readable(x, false); err != nil { // nothing is to be made
		return err
	}
	s, err := store.Open(x.String("cache-dir"), store.Options{})
	if err != nil {
		return fmt.Errorf("--cache-dir: %w", err)
	}
	out, err := s.Collect(x.Context, p)
	if x.Bool("json") {
		if jerr := json.NewEncoder(c.stdout).Encode(out); jerr != nil {
			return errors.Join(err, jerr)
		}
	}
	what := "removed"
	if p.DryRun {
		what = "would remove"
	}
	for _, r := range out.Refs {
		c.log.Info().Msgf("%s %s", what, r)
	}
	c.log.Info().Msgf("%s %d blobs of %s; %s are left", what, out.Blobs, units.HumanSize(float64(out.Bytes)), units.HumanSize(float64(out.Left)))
	return err
}

func (c *command) export(x *cli.Context) error {
	s, err := readable(x, false)
	if err != nil {
		return err
	}
	out := x.String("output")
	if out == "-" {
		return warm.Export(x.Context, s, c.stdout, x.Args().Slice())
	}
	f, err := os.CreateTemp(filepath.Dir(out), "."+filepath.Base(out)+".")
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	err = warm.Export(x.Context, s, f, x.Args().Slice())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), out)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("--output %s: %w", out, err), removed(f.Name()))
	}
	return nil
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *command) importTar(x *cli.Context) (err error) {
	if x.NArg() > 1 {
		return &shared.UsageError{Err: errors.New("import: one tar at a time; none, or -, is stdin")}
	}
	if done, err := c.enterNamespace(x.Context, x); done || err != nil {
		return err
	}
	c.notices()
	var r io.Reader = os.Stdin
	if name := x.Args().First(); name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer f.Close()
		r = f
	}
	w, err := c.warmer(x)
	if err != nil {
		return err
	}
	w.Force = x.Bool("force")
	set, stayed, err := w.Import(x.Context, r)
	for _, s := range stayed {
		c.log.Warn().Msgf("%s stays %s, which is newer than the tar; --force takes the tar's", s.Ref, s.Root.Digest)
	}
	for _, s := range set {
		fmt.Fprintf(c.stdout, "%s %s\n", s.Ref, s.Root.Digest)
	}
	return err
}
