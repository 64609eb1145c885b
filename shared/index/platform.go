package index

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func spec(p v1.Platform) ocispec.Platform {
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// Normalize gives a platform in containerd's normal form, in which equal
// platforms look equal: arm64/v8 is arm64, bare arm is arm/v7, amd64/v1 is
// amd64, aarch64 is arm64. Features are sorted; everything else is kept.
func Normalize(p v1.Platform) v1.Platform {
	n := platforms.Normalize(spec(p))
	out := v1.Platform{OS: n.OS, Architecture: n.Architecture, Variant: n.Variant, OSVersion: n.OSVersion, OSFeatures: slices.Sorted(slices.Values(n.OSFeatures))}
	if out.Architecture == "amd64" && out.Variant == "v1" {
		out.Variant = ""
	}
	return out
}

// ParsePlatform reads "os/arch[/variant][:os.version]", or containerd's
// "os(os.version)/arch[/variant]". Unlike containerd's own it fills nothing in
// from the machine it runs on.
func ParsePlatform(s string) (v1.Platform, error) {
	wrong := func() (v1.Platform, error) {
		return v1.Platform{}, fmt.Errorf("platform %q: want OS/ARCH[/VARIANT][:OSVERSION], such as linux/arm64 or windows/amd64:10.0.20348.2322", s)
	}
	rest, version, _ := strings.Cut(s, ":")
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return wrong()
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1], OSVersion: version}
	if os, v, ok := strings.Cut(parts[0], "("); ok && version == "" {
		p.OS, p.OSVersion = os, strings.TrimSuffix(v, ")")
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	for _, word := range []string{p.OS, p.Architecture, p.Variant} {
		if strings.ContainsFunc(word, func(r rune) bool { return !isWord(r) }) {
			return wrong()
		}
	}
	if p.OS == "" || p.Architecture == "" {
		return wrong()
	}
	return p, nil
}

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// ParsePlatforms reads lists of platforms separated by commas.
func ParsePlatforms(lists []string) ([]v1.Platform, error) {
	var out []v1.Platform
	for _, list := range lists {
		for s := range strings.SplitSeq(list, ",") {
			if s = strings.TrimSpace(s); s == "" {
				continue
			}
			p, err := ParsePlatform(s)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// Covers tells whether want, as a user writes it, means have: without an OS
// version it means every version.
func Covers(want, have v1.Platform) bool {
	w, h := Normalize(want), Normalize(have)
	return w.OS == h.OS && w.Architecture == h.Architecture && w.Variant == h.Variant && (w.OSVersion == "" || w.OSVersion == h.OSVersion)
}

// Name writes a platform in normal form, features included.
func Name(p v1.Platform) string {
	n := Normalize(p)
	s := n.OS + "/" + n.Architecture
	if n.Variant != "" {
		s += "/" + n.Variant
	}
	if n.OSVersion != "" {
		s += ":" + n.OSVersion
	}
	if len(n.OSFeatures) > 0 {
		s += "+" + strings.Join(n.OSFeatures, "+")
	}
	return s
}

// withPlatforms settles every image's platform: what was declared, completed by
// what the config knows better.
func withPlatforms(entries []Entry) []Entry {
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Declared == nil && e.Config != nil:
			e.Descriptor.Platform = e.Config.DeepCopy()
		case e.Declared != nil:
			e.Descriptor.Platform = complete(*e.Declared, e.Config)
		}
	}
	return entries
}

// complete fills in what a declared platform leaves open, where the config is
// about the same operating system and architecture.
func complete(p v1.Platform, config *v1.Platform) *v1.Platform {
	out := p.DeepCopy()
	if config == nil {
		return out
	}
	a, b := Normalize(p), Normalize(*config)
	if a.OS != b.OS || a.Architecture != b.Architecture {
		return out
	}
	out.Variant = cmp.Or(out.Variant, config.Variant)
	out.OSVersion = cmp.Or(out.OSVersion, config.OSVersion)
	if len(out.OSFeatures) == 0 {
		out.OSFeatures = config.OSFeatures
	}
	return out
}

// sortEntries brings entries into canonical order: images by the normal form of
// their platforms, then by digest; what is about images after them, in the
// images' order.
func sortEntries(entries []Entry) {
	rank := map[string]int{}
	key := func(e Entry) string {
		if e.Descriptor.Platform == nil {
			return "\xff"
		}
		return Name(*e.Descriptor.Platform)
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(compareBool(a.IsImage(), b.IsImage()), cmp.Compare(key(a), key(b)),
			cmp.Compare(a.Descriptor.Digest.String(), b.Descriptor.Digest.String()))
	})
	for i, e := range entries {
		rank[e.Descriptor.Digest.String()] = i
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		if a.IsImage() || b.IsImage() {
			return compareBool(a.IsImage(), b.IsImage())
		}
		return cmp.Or(cmp.Compare(rankOf(rank, a.About()), rankOf(rank, b.About())), cmp.Compare(a.Descriptor.Digest.String(), b.Descriptor.Digest.String()))
	})
}

// compareBool puts true first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func rankOf(rank map[string]int, digest string) int {
	if i, ok := rank[digest]; ok {
		return i
	}
	return len(rank)
}
