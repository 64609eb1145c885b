package registry

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// wanted is a platform to choose for. What runs on it, and in which order of
// preference, is containerd's knowledge (arm/v7 also takes v6 and v5, arm64/v9
// also v8); but never another architecture, where containerd would take 386
// for amd64: a build that is silently for another machine helps nobody.
type wanted struct {
	spec    specs.Platform
	matcher platforms.MatchComparer
}

// want makes a wanted; nil means this machine.
func want(p *v1.Platform) wanted {
	spec := platforms.DefaultSpec()
	if p != nil {
		spec = specOf(*p)
	}
	spec = platforms.Normalize(spec)
	return wanted{spec, platforms.Only(spec)}
}

func (w wanted) String() string { return platforms.FormatAll(w.spec) }

func (w wanted) matches(p v1.Platform) bool {
	s := platforms.Normalize(specOf(p))
	return s.Architecture == w.spec.Architecture && w.matcher.Match(s)
}

func specOf(p v1.Platform) specs.Platform {
	return specs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// choose gives the entry of an index that suits best, and the entries that do
// not say what they are for. Of equals the first wins, as the image
// specification has it.
func (w wanted) choose(index *v1.IndexManifest) (best *v1.Descriptor, unlabelled []v1.Descriptor) {
	for _, d := range index.Manifests {
		switch {
		case !d.MediaType.IsImage() && !d.MediaType.IsIndex(), d.Annotations["vnd.docker.reference.type"] != "":
		case d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "":
			unlabelled = append(unlabelled, d)
		case w.matches(*d.Platform) && (best == nil || w.matcher.Less(specOf(*d.Platform), specOf(*best.Platform))):
			best = &d
		}
	}
	return best, unlabelled
}

// none says that nothing suits, and what there is.
func (w wanted) none(index *v1.IndexManifest) error {
	var have []string
	for _, d := range index.Manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			have = append(have, platforms.FormatAll(specOf(*d.Platform)))
		}
	}
	slices.Sort(have)
	list := strings.Join(slices.Compact(have), ", ")
	if list == "" {
		list = "no platform by name"
	}
	return fmt.Errorf("%w %s; there is %s: choose with --platform", ErrNoPlatform, w, list)
}
