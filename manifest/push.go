package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/manifest/internal/manifesttool"
	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
)

// pushCommand is manifest-tool's.
func (c *command) pushCommand() *cli.Command {
	kind := &cli.StringFlag{Name: "type", Value: "auto", Category: groupIndex, Usage: "`auto|oci|docker`: oci, docker, or auto: docker where all images are"}
	return &cli.Command{
		Name: "push", Usage: "make an index and push it, as manifest-tool does", OnUsageError: c.usage,
		Subcommands: []*cli.Command{{
			Name: "from-spec", Usage: "of manifest-tool's YAML", ArgsUsage: "one FILE, or - for stdin", OnUsageError: c.usage,
			Flags:  flags([]cli.Flag{kind}, checkFlags(), signFlags(), outputFlags()),
			Action: c.run(1, 1, c.pushFromSpec),
		}, {
			Name: "from-args", Usage: "of arguments", ArgsUsage: "flags only", OnUsageError: c.usage,
			Flags: flags([]cli.Flag{
				kind,
				&cli.StringSliceFlag{Name: "platforms", Category: groupInput, Usage: "`PLATFORMS`: OS/ARCH[/VARIANT],… (repeatable)"},
				&cli.StringFlag{Name: "template", Category: groupInput, Usage: "`NAME`: the images' name, in which the first OS, ARCH and VARIANT stand for the platform's"},
				&cli.StringFlag{Name: "target", Category: groupOutput, Usage: "`REF`: where to push the index"},
				&cli.StringSliceFlag{Name: "tags", Category: groupOutput, Usage: "`TAGS`: more tags for it, separated by commas (repeatable)"},
				&cli.StringSliceFlag{Name: "annotations", Category: groupIndex, Usage: "`KEY=VALUE`: KEY=VALUE of the index (repeatable; separated by commas where what follows is one, too)"},
			}, checkFlags(), signFlags(), outputFlags()),
			Action: c.run(0, 0, c.pushFromArgs),
		}},
	}
}

func (c *command) pushFromSpec(x *cli.Context) error {
	file := x.Args().First()
	b, err := c.readFile(file)
	if err != nil {
		return err
	}
	s, err := manifesttool.ParseSpec(b)
	if err != nil {
		return usageError("%s: %w", file, err)
	}
	return c.pushSpec(x, s)
}

// readFile reads a file, or stdin for "-".
func (c *command) readFile(name string) ([]byte, error) {
	if name != "-" {
		return os.ReadFile(name)
	}
	b, err := io.ReadAll(io.LimitReader(c.stdin, mostStdin+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read stdin: %w", err)
	case len(b) == 0:
		return nil, errors.New("-: stdin is empty")
	case len(b) > mostStdin:
		return nil, fmt.Errorf("-: stdin is longer than %d MiB; give a file", mostStdin>>20)
	}
	return b, nil
}

// mostStdin is how much is read there.
const mostStdin = 64 << 20

func (c *command) pushFromArgs(x *cli.Context) error {
	for _, flag := range []string{"platforms", "template", "target"} {
		if !x.IsSet(flag) {
			return usageError("--%s: it is needed", flag)
		}
	}
	annotations := map[string]string{}
	for _, s := range commaPairs(x.StringSlice("annotations")) {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" {
			return usageError("--annotations %s: want KEY=VALUE", s)
		}
		annotations[k] = v
	}
	s, err := manifesttool.Args{
		Platforms: commas(x.StringSlice("platforms")), Template: x.String("template"), Target: x.String("target"),
		Tags: commas(x.StringSlice("tags")), Annotations: annotations,
	}.Spec()
	if err != nil {
		return usageError("%w", err)
	}
	return c.pushSpec(x, s)
}

func commas(lists []string) (all []string) {
	for _, l := range lists {
		for s := range strings.SplitSeq(l, ",") {
			if s = strings.TrimSpace(s); s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// commaPairs splits at the commas after which a KEY=VALUE begins: manifest-tool
// splits at each, and cannot have a comma in a value.
func commaPairs(lists []string) (all []string) {
	for _, l := range lists {
		begins := true
		for s := range strings.SplitSeq(l, ",") {
			if begins || strings.Contains(s, "=") {
				all = append(all, s)
			} else {
				all[len(all)-1] += "," + s
			}
			begins = false
		}
	}
	return all
}

// pushSpec merges what manifest-tool's input says. The entries keep their
// order, and the index has no annotations of its own accord, as there.
func (c *command) pushSpec(x *cli.Context, s manifesttool.Spec) error {
	p := &parser{x: x}
	format, err := index.ParseFormat(x.String("type"))
	if err != nil {
		p.fail("--type: %w", err)
	}
	if len(s.Annotations) > 0 && format == index.Docker {
		p.fail("annotations: a Docker manifest list has no place for them; use --type oci")
	}
	names, err := allTags(s)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	r := merge.Request{
		Targets: p.targets(names), Convert: x.Bool("convert"), IgnoreMissing: x.Bool("ignore-missing"),
		Index: index.Options{Format: format, KeepOrder: true, Annotations: s.Annotations, Rules: p.rules()},
	}
	// Who asks for an OCI index gets one of whatever images: that is how
	// manifest-tool's users annotate images of Docker's types.
	r.Index.Rules.AllowMixedTypes = r.Index.Rules.AllowMixedTypes || format == index.OCI
	for _, m := range s.Manifests {
		src := merge.Source{Text: m.Image, Ref: m.Image}
		if m.Platform.OS != "" {
			src.Platform = &v1.Platform{
				OS: m.Platform.OS, Architecture: m.Platform.Architecture, Variant: m.Platform.Variant,
				OSVersion: m.Platform.OSVersion, OSFeatures: m.Platform.OSFeatures,
			}
		}
		r.Sources = append(r.Sources, src)
	}
	if err := p.err(); err != nil {
		return err
	}
	done, err := c.mergeOnly(x, r, names)
	if err != nil {
		return err
	}
	// Scripts cut this line.
	d := done.plan.Index.Descriptor
	fmt.Fprintf(c.stdout, "Digest: %s %d\n", d.Digest, d.Size)
	return nil
}

// allTags are the target and the same with the other tags.
func allTags(s manifesttool.Spec) ([]string, error) {
	t, err := target(s.Image)
	if err != nil {
		return nil, err
	}
	names := []string{s.Image}
	for _, tag := range s.Tags {
		names = append(names, t.Repository+":"+tag)
	}
	return names, nil
}
