// Package index makes one index of the images of several platforms: checked, in an order of its own, byte for byte the same for the same input.
package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format is the family of an index's media types.
type Format string

// The formats. Auto takes Docker's where all entries are of Docker's, and
// OCI's otherwise.
const (
	Auto   Format = ""
	OCI    Format = "oci"
	Docker Format = "docker"
)

// ParseFormat reads "oci", "docker" or "auto".
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case OCI, Docker, Auto:
		return f, nil
	case "auto":
		return Auto, nil
	}
	return Auto, fmt.Errorf("index format %q: it is oci, docker or auto", s)
}

// The annotations by which BuildKit tells that an entry is about another one.
const (
	AnnotationReferenceType   = "vnd.docker.reference.type"
	AnnotationReferenceDigest = "vnd.docker.reference.digest"
)

// Entry is a manifest that is to be in an index, with what the checks need to know.
type Entry struct {
	// Source is what the user called it, for messages.
	Source string
	// Descriptor is the entry as it is written, but for its Platform, which is
	// made of Declared and Config.
	Descriptor v1.Descriptor
	// Declared is the platform that the user, or the index it comes from, gives; nil if none does.
	Declared *v1.Platform
	// Config is the platform of the image's config; nil for what is no image.
	Config *v1.Platform
	// Labels are the config's.
	Labels map[string]string
}

// About is the digest of the image that an attestation is about, "" for what is
// no attestation.
func (e Entry) About() string {
	if e.Descriptor.Annotations[AnnotationReferenceType] == "" {
		return ""
	}
	return e.Descriptor.Annotations[AnnotationReferenceDigest]
}

// IsImage tells whether the entry is something to run.
func (e Entry) IsImage() bool { return e.Descriptor.Annotations[AnnotationReferenceType] == "" }

// Options say what the index is like. The zero value is an index in canonical order.
type Options struct {
	Format Format
	// KeepOrder leaves the entries as they were given. Runtimes take the first
	// entry that suits them, so order is meaning.
	KeepOrder bool
	// Annotations are the index's own.
	Annotations map[string]string
	// EntryAnnotations are added to entries, by platform ("linux/arm64").
	EntryAnnotations map[string]map[string]string
	// FromLabels adds the labels in which all images agree to Annotations.
	FromLabels   bool
	ArtifactType string
	Subject      *v1.Descriptor
	Rules        Rules
}

// Index is a finished index.
type Index struct {
	Raw        []byte
	Descriptor v1.Descriptor
	Entries    []Entry // in the order of the index, with their platforms
}

// Make checks entries and makes an index of them. What is wrong is told all at once.
func Make(entries []Entry, o Options) (*Index, error) {
	entries = withPlatforms(unique(entries))
	if err := o.Rules.check(entries); err != nil {
		return nil, err
	}
	if !o.KeepOrder {
		sortEntries(entries)
	}
	format, err := o.format(entries)
	if err != nil {
		return nil, err
	}
	if err := o.annotate(entries, format); err != nil {
		return nil, err
	}
	return o.write(entries, format)
}

// write makes the bytes: fields in the order of the specification's own types,
// map keys sorted, nothing that changes from run to run.
func (o Options) write(entries []Entry, format Format) (*Index, error) {
	doc := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: string(format.MediaType()),
		ArtifactType: o.ArtifactType, Manifests: []ocispec.Descriptor{}, Annotations: o.indexAnnotations(entries, format),
	}
	if o.Subject != nil {
		s := describe(*o.Subject)
		doc.Subject = &s
	}
	for _, e := range entries {
		doc.Manifests = append(doc.Manifests, describe(e.Descriptor))
	}
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write index: %w", err)
	}
	d := digest.FromBytes(raw)
	return &Index{Raw: raw, Entries: entries, Descriptor: v1.Descriptor{
		MediaType: format.MediaType(), Size: int64(len(raw)), ArtifactType: o.ArtifactType,
		Digest: v1.Hash{Algorithm: d.Algorithm().String(), Hex: d.Encoded()},
	}}, nil
}

func describe(d v1.Descriptor) ocispec.Descriptor {
	out := ocispec.Descriptor{
		MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size,
		URLs: d.URLs, Annotations: d.Annotations, Data: d.Data, ArtifactType: d.ArtifactType,
	}
	if d.Platform != nil {
		out.Platform = new(ocispec.Platform)
		*out.Platform = spec(*d.Platform)
	}
	return out
}

// unique takes out what is given twice, by digest.
func unique(entries []Entry) []Entry {
	seen := map[v1.Hash]bool{}
	var out []Entry
	for _, e := range entries {
		if seen[e.Descriptor.Digest] {
			continue
		}
		seen[e.Descriptor.Digest] = true
		e.Descriptor = *e.Descriptor.DeepCopy()
		out = append(out, e)
	}
	return out
}

// MediaType is the type of an index of this format.
func (f Format) MediaType() types.MediaType {
	if f == Docker {
		return types.DockerManifestList
	}
	return types.OCIImageIndex
}

func isDocker(mt types.MediaType) bool { return strings.Contains(string(mt), types.DockerVendorPrefix) }

// format chooses the family, and refuses a mixture.
func (o Options) format(entries []Entry) (Format, error) {
	format := o.Format
	if format == Auto {
		format = Docker
		for _, e := range entries {
			if !isDocker(e.Descriptor.MediaType) {
				format = OCI
			}
		}
		if len(entries) == 0 || o.ArtifactType != "" || o.Subject != nil {
			format = OCI
		}
	}
	if o.Rules.AllowMixedTypes {
		return format, nil
	}
	var errs []error
	for _, e := range entries {
		if isDocker(e.Descriptor.MediaType) != (format == Docker) {
			errs = append(errs, fmt.Errorf("%s is a %s, which does not belong into an index of the %s format", e.Source, e.Descriptor.MediaType, format))
		}
	}
	if len(errs) > 0 {
		return format, &CheckError{Check: MixedTypes, Problems: errs}
	}
	return format, nil
}

// annotate adds the annotations of entries, and refuses what the format has no place for.
func (o Options) annotate(entries []Entry, format Format) error {
	for wanted, add := range o.EntryAnnotations {
		p, err := ParsePlatform(wanted)
		if err != nil {
			return err
		}
		met := false
		for i := range entries {
			e := &entries[i]
			if e.Descriptor.Platform == nil || !e.IsImage() || !Covers(p, *e.Descriptor.Platform) {
				continue
			}
			met = true
			if e.Descriptor.Annotations == nil {
				e.Descriptor.Annotations = map[string]string{}
			}
			maps.Copy(e.Descriptor.Annotations, add)
		}
		if !met {
			return &CheckError{Annotations, []error{fmt.Errorf("annotation for %s: the index has no such platform", wanted)}}
		}
	}
	if format != Docker {
		return nil
	}
	switch {
	case len(o.Annotations) > 0 || len(o.EntryAnnotations) > 0:
		return &CheckError{Annotations, []error{errors.New("a Docker manifest list has no place for them; use the oci format")}}
	case o.ArtifactType != "" || o.Subject != nil:
		return &CheckError{Annotations, []error{errors.New("a Docker manifest list has no place for an artifact type or a subject; use the oci format")}}
	}
	return nil
}

func (o Options) indexAnnotations(entries []Entry, format Format) map[string]string {
	if format == Docker {
		return nil
	}
	all := map[string]string{}
	if o.FromLabels {
		maps.Copy(all, agreed(entries))
	}
	maps.Copy(all, o.Annotations)
	if len(all) == 0 {
		return nil
	}
	return all
}
