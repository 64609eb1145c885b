package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
	"github.com/strake-build/strake/shared/registry"
)

func (c *command) inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "show an index or an image", ArgsUsage: "one REFERENCE", OnUsageError: c.usage,
		Flags: flags([]cli.Flag{
			&cli.BoolFlag{Name: "raw", Usage: "the bytes that the registry has"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "`table|json|lines`: table, json, or lines: PLATFORM DIGEST, one per image"},
		}),
		Action: c.run(1, 1, c.inspect),
	}
}

// row is an entry of an index as inspect and metadata files show it.
type row struct {
	Platform    string            `json:"platform,omitempty"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	MediaType   string            `json:"mediaType"`
	About       string            `json:"about,omitempty"` // of an attestation
	Source      string            `json:"source,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func rows(entries []index.Entry) []row {
	out := []row{}
	for _, e := range entries {
		r := row{
			Digest: e.Descriptor.Digest.String(), Size: e.Descriptor.Size, MediaType: string(e.Descriptor.MediaType),
			About: e.About(), Source: e.Source, Annotations: e.Descriptor.Annotations,
		}
		if e.Descriptor.Platform != nil && e.IsImage() {
			r.Platform = index.Name(*e.Descriptor.Platform)
		}
		out = append(out, r)
	}
	return out
}

// shown is what inspect shows of a reference.
type shown struct {
	Name         string            `json:"name"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Subject      string            `json:"subject,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     string            `json:"platform,omitempty"` // of an image
	Layers       int               `json:"layers,omitempty"`   // of an image
	Manifests    []row             `json:"manifests,omitempty"`
}

func (c *command) inspect(x *cli.Context) error {
	ref := x.Args().First()
	client, err := c.client(x, ref)
	if err != nil {
		return err
	}
	defer client.Close()
	doc, err := client.Document(x.Context, ref)
	if err != nil {
		return err
	}
	if x.Bool("raw") {
		_, err := c.stdout.Write(doc.Raw)
		return err
	}
	s, err := show(x, doc)
	if err != nil {
		return err
	}
	switch f := x.String("format"); f {
	case "table":
		return c.table(s)
	case "json":
		e := json.NewEncoder(c.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(s)
	case "lines":
		return c.lines(s)
	default:
		return usageError("--format %s: it is table, json or lines", f)
	}
}

func show(x *cli.Context, doc *registry.Document) (*shown, error) {
	s := &shown{Name: doc.Ref, Digest: doc.Descriptor.Digest.String(), Size: doc.Descriptor.Size, MediaType: string(doc.Descriptor.MediaType), ArtifactType: doc.Descriptor.ArtifactType}
	if doc.Index != nil {
		s.Annotations = doc.Index.Annotations
		s.Subject = digestOf(doc.Index.Subject)
		var entries []index.Entry
		for _, d := range doc.Index.Manifests {
			entries = append(entries, index.Entry{Descriptor: d})
		}
		s.Manifests = rows(entries)
		return s, nil
	}
	s.Annotations, s.Layers, s.Subject = doc.Image.Annotations, len(doc.Image.Layers), digestOf(doc.Image.Subject)
	if !doc.Image.Config.MediaType.IsConfig() {
		return s, nil
	}
	b, err := doc.Small(x.Context, doc.Image.Config, 32<<20)
	if err != nil {
		return nil, err
	}
	var conf v1.ConfigFile
	if err := json.Unmarshal(b, &conf); err != nil {
		return nil, fmt.Errorf("config of %s: %w", doc.Ref, err)
	}
	s.Platform = index.Name(v1.Platform{OS: conf.OS, Architecture: conf.Architecture, Variant: conf.Variant, OSVersion: conf.OSVersion, OSFeatures: conf.OSFeatures})
	return s, nil
}

func digestOf(d *v1.Descriptor) string {
	if d == nil {
		return ""
	}
	return d.Digest.String()
}

func (c *command) table(s *shown) error {
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	line := func(k, v string) {
		if v != "" {
			fmt.Fprintf(w, "%s:\t%s\n", k, v)
		}
	}
	line("Name", s.Name)
	line("Digest", s.Digest)
	line("Type", s.MediaType)
	line("Artifact", s.ArtifactType)
	line("Subject", s.Subject)
	line("Platform", s.Platform)
	if s.Layers > 0 {
		line("Layers", fmt.Sprint(s.Layers))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Annotations)) {
		line("Annotation", k+"="+s.Annotations[k])
	}
	if len(s.Manifests) > 0 {
		fmt.Fprintln(w, "\nPLATFORM\tDIGEST\tSIZE\tTYPE")
	}
	for _, m := range s.Manifests {
		what := m.Platform
		if m.About != "" {
			what = "attestation of " + m.About
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", what, m.Digest, m.Size, m.MediaType)
	}
	return w.Flush()
}

func (c *command) lines(s *shown) error {
	if s.Platform != "" {
		fmt.Fprintln(c.stdout, s.Platform, s.Digest)
	}
	for _, m := range s.Manifests {
		if m.Platform != "" {
			fmt.Fprintln(c.stdout, m.Platform, m.Digest)
		}
	}
	return nil
}

// source of a command's own image is by digest, so that all that follows is about the same.
func pinned(doc *registry.Document) merge.Source {
	return merge.Source{Text: doc.Ref, Ref: doc.Repository + "@" + doc.Descriptor.Digest.String()}
}
