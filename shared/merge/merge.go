// Package merge makes one index of images that were built apart, brings it with all below it into registries, and moves tags to it last.
package merge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/registry"
)

// Signer signs manifests that are in a registry.
//
// Sign returns when the manifest with this descriptor in repository
// ("host/path") has a signature of the signer's identity; one that is there
// already is enough. The manifest is named by its digest, never by a tag. Sign
// may be called from several goroutines.
type Signer interface {
	Sign(ctx context.Context, repository string, d v1.Descriptor) error
}

// Verifier tells whether a manifest is signed by somebody in whom the user
// trusts. An error says that it is not, or that it could not be found out.
type Verifier interface {
	Verify(ctx context.Context, repository string, digest v1.Hash) error
}

// Attestations says what becomes of BuildKit's attestation entries.
type Attestations string

// What becomes of them.
const (
	Keep        Attestations = ""          // they are entries of the new index
	Drop        Attestations = "drop"      // they are left out
	AsReferrers Attestations = "referrers" // they are pushed as referrers of their images, and are no entries
)

// ParseAttestations reads "keep", "drop" or "referrers".
func ParseAttestations(s string) (Attestations, error) {
	switch a := Attestations(s); a {
	case Keep, Drop, AsReferrers:
		return a, nil
	case "keep":
		return Keep, nil
	}
	return Keep, fmt.Errorf("attestations %q: keep, drop or referrers", s)
}

// Target is a tag that is to name the index; without a tag, a repository that
// is to have it by digest.
type Target struct {
	Repository string // in full: docker.io/library/x
	Tag        string
	// WasDigest, if set, is what the tag must say before it is moved: a digest,
	// or "none" for a tag that must not be set.
	WasDigest string
}

func (t Target) String() string {
	if t.Tag == "" {
		return t.Repository
	}
	return t.Repository + ":" + t.Tag
}

// NoDigest is the WasDigest of a tag that must not be set yet.
const NoDigest = "none"

// Request is what is to be merged. The zero value of everything but Sources and
// Targets is the usual choice.
type Request struct {
	Sources []Source
	Targets []Target
	Index   index.Options
	// Convert rewrites images of the other family of media types; their digests change.
	Convert bool
	// Only takes, of sources that are indexes, the images of these platforms.
	Only         []v1.Platform
	Attestations Attestations
	// Without leaves out images by platform or digest, and what is about them.
	// Each must be there.
	Without []string
	// Replace has an image of a later source take the place of an earlier one's
	// for the same platform.
	Replace bool
	// Referrers copies what refers to the images (signatures, attestations) along with them.
	Referrers bool
	// IgnoreMissing leaves out sources that their registry says it does not have.
	IgnoreMissing bool
	// IndexOnly has the Signer sign the index and not its images.
	IndexOnly bool
}

// Merger carries requests out.
type Merger struct {
	Registry *registry.Client
	// Signer signs the index and its images before a tag moves; nil signs nothing.
	Signer Signer
	// Verifier is asked about every image before anything is written; nil asks nobody.
	Verifier Verifier
	// Report is told of every step, one at a time; nil tells nobody.
	Report func(Step)
}

// Step is something that was done, or left out.
type Step struct {
	What   string // "skipped", "pushed", "signed", "tagged"
	Name   string // the source, repository or tag that it is about
	Digest v1.Hash
	Why    string // of what was left out
}

func (m *Merger) report(s Step) {
	if m.Report != nil {
		m.Report(s)
	}
}

// Plan is a merge that has passed all checks and has written nothing yet.
type Plan struct {
	Index   *index.Index
	request Request
	members []member
}

// member is an entry of the index, or a referrer of one, and where it comes from.
type member struct {
	entry index.Entry
	node  node
	// referrer says that it is no entry.
	referrer bool
}

// TagError says how far the tags were moved when one could not be.
type TagError struct {
	Tag   string
	Moved []string
	Left  []string // Tag and those after it
	Err   error
}

func (e *TagError) Error() string {
	moved := "none"
	if len(e.Moved) > 0 {
		moved = strings.Join(e.Moved, ", ")
	}
	return fmt.Sprintf("tag %s: %v; tags moved before it: %s; not moved: %s; the index is there by digest, and the same command goes on where this one stopped",
		e.Tag, e.Err, moved, strings.Join(e.Left, ", "))
}

// Unwrap gives the cause.
func (e *TagError) Unwrap() error { return e.Err }

// ErrTagMoved says that a tag does not name what it should have named before.
var ErrTagMoved = errors.New("the tag names something else than expected")

// ErrUnsigned says that a child is not signed as required.
var ErrUnsigned = errors.New("not signed as required")

// InputError says what is wrong with a file or directory that is a source.
type InputError struct {
	What string
	Err  error
}

func (e *InputError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *InputError) Unwrap() error { return e.Err }
