package index

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Rules are the checks that entries must pass. The zero value checks everything
// but the platforms that are expected, which nobody has named.
type Rules struct {
	// Expect are the platforms that must all be there, and no others; nil expects nothing.
	Expect []v1.Platform
	// AllowExtra takes platforms that are not expected.
	AllowExtra bool
	// AllowDuplicates takes several images for one platform.
	AllowDuplicates bool
	// AllowOtherPlatform takes an image whose config names another platform than declared.
	AllowOtherPlatform bool
	// AllowOtherLabels takes images whose labels say that they come of different sources.
	AllowOtherLabels bool
	// AllowMixedTypes takes entries of the other family of media types.
	AllowMixedTypes bool
}

// Check names one of the checks.
type Check string

// The checks.
const (
	Platforms      Check = "platforms"
	Duplicates     Check = "duplicates"
	ConfigPlatform Check = "config platform"
	Labels         Check = "labels"
	MixedTypes     Check = "media types"
	Annotations    Check = "annotations"
	Empty          Check = "content"
)

// CheckError is a check that entries did not pass.
type CheckError struct {
	Check    Check
	Problems []error
}

func (e *CheckError) Error() string {
	var lines []string
	for _, p := range e.Problems {
		lines = append(lines, p.Error())
	}
	return fmt.Sprintf("check of %s: %s", e.Check, strings.Join(lines, "; "))
}

// Unwrap gives the problems.
func (e *CheckError) Unwrap() []error { return e.Problems }

func (r Rules) check(entries []Entry) error {
	if !slices.ContainsFunc(entries, Entry.IsImage) {
		return &CheckError{Empty, []error{errors.New("there is no image to put into the index")}}
	}
	errs := []error{failed(ConfigPlatform, r.configPlatforms(entries)), failed(Duplicates, r.duplicates(entries)), failed(Platforms, r.expected(entries)), failed(Labels, r.labels(entries))}
	return errors.Join(errs...)
}

func failed(c Check, problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return &CheckError{c, problems}
}

// configPlatforms finds images that were built for another platform than they
// are declared for: a wrong flag of an emulated build does that.
func (r Rules) configPlatforms(entries []Entry) (problems []error) {
	for _, e := range entries {
		switch {
		case !e.IsImage():
		case e.Descriptor.Platform == nil || e.Descriptor.Platform.OS == "" || e.Descriptor.Platform.Architecture == "":
			problems = append(problems, fmt.Errorf("%s: neither its config nor anybody else names its platform", e.Source))
		case r.AllowOtherPlatform || e.Declared == nil || e.Config == nil:
		case !agrees(*e.Declared, *e.Config):
			problems = append(problems, fmt.Errorf("%s is declared as %s, but its config says %s", e.Source, Name(*e.Declared), Name(*e.Config)))
		}
	}
	return problems
}

// agrees compares only what both name: a config often has no variant.
func agrees(declared, config v1.Platform) bool {
	d, c := Normalize(declared), Normalize(config)
	return d.OS == c.OS && d.Architecture == c.Architecture &&
		(declared.Variant == "" || config.Variant == "" || d.Variant == c.Variant) &&
		(d.OSVersion == "" || c.OSVersion == "" || d.OSVersion == c.OSVersion)
}

func (r Rules) duplicates(entries []Entry) (problems []error) {
	if r.AllowDuplicates {
		return nil
	}
	first := map[string]Entry{}
	for _, e := range entries {
		if !e.IsImage() || e.Descriptor.Platform == nil {
			continue
		}
		name := Name(*e.Descriptor.Platform)
		if other, ok := first[name]; ok {
			problems = append(problems, fmt.Errorf("%s and %s are both for %s", other.Source, e.Source, name))
			continue
		}
		first[name] = e
	}
	return problems
}

func (r Rules) expected(entries []Entry) (problems []error) {
	if r.Expect == nil {
		return nil
	}
	covered := func(p v1.Platform) bool {
		return slices.ContainsFunc(r.Expect, func(want v1.Platform) bool { return Covers(want, p) })
	}
	for _, want := range r.Expect {
		if !slices.ContainsFunc(entries, func(e Entry) bool {
			return e.IsImage() && e.Descriptor.Platform != nil && Covers(want, *e.Descriptor.Platform)
		}) {
			problems = append(problems, fmt.Errorf("%s is expected and missing", Name(want)))
		}
	}
	for _, e := range entries {
		if e.IsImage() && !r.AllowExtra && e.Descriptor.Platform != nil && !covered(*e.Descriptor.Platform) {
			problems = append(problems, fmt.Errorf("%s is for %s, which is not expected", e.Source, Name(*e.Descriptor.Platform)))
		}
	}
	return problems
}

// origin are the labels that say what an image was made of.
func origin() []string {
	return []string{ocispec.AnnotationRevision, ocispec.AnnotationVersion, ocispec.AnnotationSource}
}

// labels finds images that come of different commits. One without a label that
// another has is different, too: nobody knows what it was made of.
func (r Rules) labels(entries []Entry) (problems []error) {
	if r.AllowOtherLabels {
		return nil
	}
	for _, label := range origin() {
		var first *Entry
		for _, e := range entries {
			switch {
			case !e.IsImage() || e.Config == nil:
			case first == nil:
				first = &e
			case first.Labels[label] != e.Labels[label]:
				problems = append(problems, fmt.Errorf("%s: %s has %q, %s has %q", label, first.Source, first.Labels[label], e.Source, e.Labels[label]))
			}
		}
	}
	return problems
}

// agreed are the labels of origin that all images have with the same value.
func agreed(entries []Entry) map[string]string {
	out := map[string]string{}
	for _, label := range origin() {
		values := map[string]bool{}
		for _, e := range entries {
			if e.IsImage() {
				values[e.Labels[label]] = true
			}
		}
		for v := range values {
			if len(values) == 1 && v != "" {
				out[label] = v
			}
		}
	}
	return out
}
