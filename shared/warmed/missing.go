package warmed

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/registry"
)

// MissingError says what is not here, where nobody may be asked for it. It is a
// registry.ErrNotFound.
type MissingError struct {
	// Dir is the directory that the images are not in.
	Dir    string
	Images []Missing
	// Fetched are addresses of what is no image: files and repositories of ADD,
	// contexts. No directory has them.
	Fetched []string
}

// Missing is an image that is not there.
type Missing struct {
	Ref      string
	Platform string // "linux/arm64"
	Why      string
}

func (i *Images) missing(ref string, p *v1.Platform, why string) error {
	return &MissingError{Dir: i.Store.Path(), Images: []Missing{{Ref: ref, Platform: platformName(p), Why: why}}}
}

func platformName(p *v1.Platform) string {
	if p == nil {
		h := registry.HostPlatform()
		p = &h
	}
	return platforms.FormatAll(platforms.Normalize(ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion}))
}

func (e *MissingError) Error() string {
	return strings.Join(append(e.images(), e.fetched()...), "\n")
}

func (e *MissingError) images() []string {
	if len(e.Images) == 0 {
		return nil
	}
	what := "an image is"
	if len(e.Images) > 1 {
		what = fmt.Sprintf("%d images are", len(e.Images))
	}
	lines := []string{fmt.Sprintf("%s not in %s, and no registry may be asked:", what, e.Dir)}
	for _, m := range e.Images {
		lines = append(lines, fmt.Sprintf("  %s for %s: %s", m.Ref, m.Platform, m.Why))
	}
	return append(lines, "where there is a network: "+e.Command())
}

func (e *MissingError) fetched() []string {
	if len(e.Fetched) == 0 {
		return nil
	}
	lines := []string{"nothing may be fetched, and this would be:"}
	for _, f := range e.Fetched {
		lines = append(lines, "  "+f)
	}
	return append(lines, "the warmer has images only: put this into the build context, or have the steps that use it in a cache on this machine")
}

// Unwrap gives the kind of failure.
func (e *MissingError) Unwrap() error { return registry.ErrNotFound }

// Command is the warmer's command line that fetches the images.
func (e *MissingError) Command() string {
	var refs, names []string
	for _, m := range e.Images {
		refs, names = append(refs, m.Ref), append(names, m.Platform)
	}
	args := []string{"warmer", "--cache-dir", e.Dir}
	for _, n := range compact(names) {
		args = append(args, "--platform", n)
	}
	for _, r := range compact(refs) {
		args = append(args, "--image", r)
	}
	return strings.Join(args, " ")
}

// Join is one error for all that is missing.
func (e *MissingError) Join(others ...*MissingError) *MissingError {
	out := &MissingError{Dir: e.Dir}
	for _, o := range append([]*MissingError{e}, others...) {
		if out.Dir == "" {
			out.Dir = o.Dir
		}
		out.Fetched = append(out.Fetched, o.Fetched...)
		for _, m := range o.Images {
			if !slices.ContainsFunc(out.Images, func(h Missing) bool { return h.Ref == m.Ref && h.Platform == m.Platform }) {
				out.Images = append(out.Images, m)
			}
		}
	}
	out.Fetched = compact(out.Fetched)
	slices.SortFunc(out.Images, func(a, b Missing) int {
		return strings.Compare(a.Ref+" "+a.Platform, b.Ref+" "+b.Platform)
	})
	return out
}

func compact(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
