// Package manifesttool reads what manifest-tool reads: its YAML, and the arguments of its push from-args.
package manifesttool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/estesp/manifest-tool/v2/pkg/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"gopkg.in/yaml.v3"
)

// Spec is what manifest-tool calls its input.
type Spec = types.YAMLInput

// ParseSpec reads manifest-tool's YAML, into its own types. Besides its
// spelling "osversion" and "osfeatures", that of image specifications,
// "os.version" and "os.features", is taken. Keys that manifest-tool would
// ignore are errors, with their line.
func ParseSpec(b []byte) (Spec, error) {
	var doc yaml.Node
	var s Spec
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return s, err
	}
	if len(doc.Content) == 0 {
		return s, errors.New("it is empty")
	}
	if err := checkSpec(doc.Content[0]); err != nil {
		return s, err
	}
	if err := doc.Decode(&s); err != nil {
		return s, err
	}
	return s, complete(s)
}

func complete(s Spec) error {
	if s.Image == "" {
		return errors.New("image: the target is missing")
	}
	if len(s.Manifests) == 0 {
		return errors.New("manifests: there is none")
	}
	for i, m := range s.Manifests {
		if m.Image == "" {
			return fmt.Errorf("manifests[%d]: its image is missing", i)
		}
		if (m.Platform.OS == "") != (m.Platform.Architecture == "") {
			return fmt.Errorf("manifests[%d] (%s): os and architecture belong together", i, m.Image)
		}
	}
	return nil
}

func checkSpec(top *yaml.Node) error {
	var errs []error
	errs = append(errs, keys(top, "the specification", "image", "tags", "annotations", "manifests"))
	for _, entry := range sequence(value(top, "manifests")) {
		errs = append(errs, keys(entry, "a manifest", "image", "platform"))
		p := value(entry, "platform")
		if p == nil {
			continue
		}
		rename(p, "os.version", "osversion")
		rename(p, "os.features", "osfeatures")
		errs = append(errs, keys(p, "a platform", "architecture", "os", "variant", "osversion", "osfeatures"))
	}
	return errors.Join(errs...)
}

// keys refuses the keys of a mapping that nobody would read.
func keys(n *yaml.Node, what string, known ...string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: %s is a mapping", n.Line, what)
	}
	var errs []error
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i]; !slices.Contains(known, k.Value) && k.Tag != "!!merge" {
			errs = append(errs, fmt.Errorf("line %d: %s has no key %q; it has %s", k.Line, what, k.Value, strings.Join(known, ", ")))
		}
	}
	return errors.Join(errs...)
}

func value(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func sequence(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func rename(n *yaml.Node, from, to string) {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == from {
			n.Content[i].Value = to
		}
	}
}

// Args are the arguments of push from-args.
type Args struct {
	Platforms   []string // OS/ARCH[/VARIANT], each
	Template    string
	Target      string
	Tags        []string
	Annotations map[string]string
}

// Spec makes the specification that manifest-tool makes: in the template the
// first ARCH, the first OS and the first VARIANT, in that order, stand for the
// platform's.
func (a Args) Spec() (Spec, error) {
	s := Spec{Image: a.Target, Tags: a.Tags, Annotations: a.Annotations}
	for _, p := range a.Platforms {
		parts := strings.Split(p, "/")
		if len(parts) != 2 && len(parts) != 3 || slices.Contains(parts, "") {
			return s, fmt.Errorf("platform %q: want OS/ARCH[/VARIANT]", p)
		}
		parts = append(parts, "")
		image := a.Template
		for i, word := range []string{"ARCH", "OS", "VARIANT"} {
			image = strings.Replace(image, word, parts[[]int{1, 0, 2}[i]], 1)
		}
		s.Manifests = append(s.Manifests, types.ManifestEntry{
			Image: image, Platform: ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]},
		})
	}
	return s, complete(s)
}
