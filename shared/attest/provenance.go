package attest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// BuildType names what our provenance means; the address leads to its description.
const BuildType = "https://github.com/strake-build/strake/blob/main/docs/provenance.md#dockerfile-v1"

// Builder is the usual identity of the builder.
const Builder = "https://github.com/strake-build/strake/executor"

// Mode is how much provenance tells.
type Mode string

// The modes.
const (
	Off Mode = ""
	Min Mode = "min"
	Max Mode = "max"
)

// Options say how provenance is written.
type Options struct {
	Mode      Mode
	BuilderID string // empty: Builder
	// Invocation names the run of the pipeline; it may be empty.
	Invocation string
}

// Facts are what happened in the build of one platform. Nothing in them needs to
// be free of secrets: Provenance takes those out.
type Facts struct {
	// Context is where the build context came from.
	Context    Resource
	Dockerfile Dockerfile
	Target     string
	Platform   string
	Contexts   map[string]string // named ones
	Args       map[string]string
	Labels     map[string]string
	Steps      []Step

	BuilderPlatform string
	Version         string
	Settings        Settings
	Dependencies    []Resource
	// Started and Finished are zero where two builds are to tell the same.
	Started, Finished time.Time
}

// Dockerfile is the file that was built.
type Dockerfile struct {
	Path   string            `json:"path"`
	Digest map[string]string `json:"digest,omitempty"`
}

// Settings are those that change what is written.
type Settings struct {
	Format         string `json:"imageFormat,omitempty"`
	Compression    string `json:"compression,omitempty"`
	SingleSnapshot bool   `json:"singleSnapshot,omitempty"`
	Reproducible   bool   `json:"reproducible,omitempty"`
	Epoch          *int64 `json:"sourceDateEpoch,omitempty"`
}

// Step is a vertex of the build.
type Step struct {
	Name  string `json:"name"`
	Lines string `json:"lines,omitempty"` // of the Dockerfile: "3", "3-5"
	// Inputs are the numbers of the steps it needs, from 0.
	Inputs []int `json:"inputs,omitempty"`
}

// Provenance is a SLSA provenance predicate of our build type.
type Provenance struct {
	BuildDefinition struct {
		BuildType            string     `json:"buildType"`
		ExternalParameters   external   `json:"externalParameters"`
		InternalParameters   internal   `json:"internalParameters"`
		ResolvedDependencies []Resource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder  builder   `json:"builder"`
		Metadata *metadata `json:"metadata,omitempty"`
	} `json:"runDetails"`
}

type external struct {
	Context    Resource          `json:"context"`
	Dockerfile Dockerfile        `json:"dockerfile"`
	Target     string            `json:"target,omitempty"`
	Platform   string            `json:"platform"`
	Contexts   map[string]string `json:"namedContexts,omitempty"`
	Args       map[string]string `json:"buildArgs,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

type internal struct {
	BuilderPlatform string   `json:"builderPlatform"`
	Settings        Settings `json:"settings"`
	Steps           []Step   `json:"steps,omitempty"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

type metadata struct {
	Invocation string     `json:"invocationId,omitempty"`
	Started    *time.Time `json:"startedOn,omitempty"`
	Finished   *time.Time `json:"finishedOn,omitempty"`
}

// Provenance makes the predicate. Equal facts give equal bytes.
func (o Options) Provenance(f Facts) (Predicate, error) {
	r := Redact(f.Args)
	var p Provenance
	d := &p.BuildDefinition
	d.BuildType = BuildType
	d.ExternalParameters = external{
		Context: r.resource(f.Context), Dockerfile: f.Dockerfile, Target: r.Text(f.Target), Platform: f.Platform, Contexts: addresses(f.Contexts),
	}
	d.InternalParameters = internal{BuilderPlatform: f.BuilderPlatform, Settings: f.Settings}
	if o.Mode == Max {
		d.ExternalParameters.Args, d.ExternalParameters.Labels = r.Variables(f.Args), r.Variables(f.Labels)
		for _, s := range f.Steps {
			s.Name = r.Text(s.Name)
			d.InternalParameters.Steps = append(d.InternalParameters.Steps, s)
		}
	}
	d.ResolvedDependencies = r.dependencies(f.Dependencies)
	p.RunDetails.Builder = builder{ID: o.BuilderID, Version: map[string]string{"strake": f.Version}}
	if o.BuilderID == "" {
		p.RunDetails.Builder.ID = Builder
	}
	m := metadata{Invocation: Address(o.Invocation), Started: stamp(f.Started), Finished: stamp(f.Finished)}
	if !f.Started.IsZero() {
		p.RunDetails.Metadata = &m
	}
	raw, err := marshal("provenance", p)
	return Predicate{TypeProvenance, raw}, err
}

// Least takes out of a predicate of ours what Min does not tell.
func Least(predicate json.RawMessage) (json.RawMessage, error) {
	var p Provenance
	if err := json.Unmarshal(predicate, &p); err != nil {
		return nil, fmt.Errorf("read provenance: %w", err)
	}
	e := &p.BuildDefinition.ExternalParameters
	e.Args, e.Labels, p.BuildDefinition.InternalParameters.Steps = nil, nil, nil
	return marshal("provenance", p)
}

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC().Truncate(time.Second))
}

func addresses(all map[string]string) map[string]string {
	out := maps.Clone(all)
	for k, v := range out {
		out[k] = Address(v)
	}
	return out
}

func (r Redactor) resource(x Resource) Resource {
	x.Name = r.Text(x.Name)
	if x.URI != "" {
		x.URI = r.Values(Address(x.URI))
	}
	return x
}

// dependencies are sorted, each once.
func (r Redactor) dependencies(all []Resource) []Resource {
	out := make([]Resource, 0, len(all))
	for _, x := range all {
		x = r.resource(x)
		if !slices.ContainsFunc(out, func(o Resource) bool {
			return o.Name == x.Name && o.URI == x.URI && maps.Equal(o.Digest, x.Digest)
		}) {
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b Resource) int { return compare(a.URI, b.URI, a.Name, b.Name) })
	return out
}

// compare compares pairs of texts, the first that differs counting.
func compare(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		switch {
		case pairs[i] < pairs[i+1]:
			return -1
		case pairs[i] > pairs[i+1]:
			return 1
		}
	}
	return 0
}
