package cosign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/strake-build/strake/shared/registry"
)

// Signer signs with a key; it is a merge.Signer. It signs no manifest twice:
// where a valid signature by its key, with its annotations, is there in the
// wanted format, there is nothing to do.
type Signer struct {
	Registry    *registry.Client
	Key         signature.SignerVerifier
	Format      Format
	Annotations map[string]string
	// Identity is the docker-reference of legacy payloads, which policies of
	// containers/image compare; empty for the repository's name.
	Identity string
	Now      func() time.Time
	// Report is told of what was signed, and what was already; nil tells nobody.
	Report func(Signed)
}

// Signed tells of one signature or attestation.
type Signed struct {
	Repository string
	Digest     v1.Hash
	Format     Format
	// Already says that a valid one was there.
	Already bool
}

// Sign signs a manifest by its digest.
func (s *Signer) Sign(ctx context.Context, repository string, d v1.Descriptor) error {
	for _, f := range []Format{Legacy, Bundle} {
		if !s.Format.has(f) {
			continue
		}
		done, err := s.isSigned(ctx, repository, d.Digest, f)
		if err != nil {
			return err
		}
		if !done {
			if err := s.signAs(ctx, f, repository, d); err != nil {
				return err
			}
		}
		s.report(Signed{repository, d.Digest, f, done})
	}
	return nil
}

func (s *Signer) report(what Signed) {
	if s.Report != nil {
		s.Report(what)
	}
}

// isSigned looks for a signature of our own. Only a clear answer counts.
func (s *Signer) isSigned(ctx context.Context, repository string, digest v1.Hash, f Format) (bool, error) {
	v := &Verifier{Registry: s.Registry, Policy: Policy{Key: s.Key, Annotations: s.Annotations, Format: f, IgnoreLog: true}}
	_, err := v.Signatures(ctx, repository, digest)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrNoSignature), errors.Is(err, ErrNoMatch):
		return false, nil
	}
	return false, fmt.Errorf("find out whether %s@%s is signed: %w", repository, digest, err)
}

func (s *Signer) signAs(ctx context.Context, f Format, repository string, d v1.Descriptor) error {
	if f == Bundle {
		st := Statement{
			Type: statementV1, PredicateType: signPredicate, Predicate: json.RawMessage("{}"),
			Subject: []Subject{{Digest: map[string]string{d.Digest.Algorithm: d.Digest.Hex}, Annotations: s.Annotations}},
		}
		b, err := bundleOf(ctx, s.Key, st)
		if err != nil {
			return err
		}
		return s.attach(ctx, repository, d, signPredicate, b)
	}
	return s.signLegacy(ctx, repository, d.Digest)
}

// signLegacy adds a signature to the image that holds them.
func (s *Signer) signLegacy(ctx context.Context, repository string, digest v1.Hash) error {
	ref, err := name.NewDigest(repository+"@"+digest.String(), name.WeakValidation)
	if err != nil {
		return err
	}
	annotations := map[string]any{}
	for k, v := range s.Annotations {
		annotations[k] = v
	}
	p, err := payload.Cosign{Image: ref, ClaimedIdentity: s.Identity, Annotations: annotations}.MarshalJSON()
	if err != nil {
		return err
	}
	sig, err := s.Key.SignMessage(bytes.NewReader(p), options.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return appendTo(ctx, s.Registry, repository, digest, "sig", registry.AnnotatedLayer{
		Layer:       static.NewLayer(p, simpleSigning),
		Annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)},
	})
}

func appendTo(ctx context.Context, c *registry.Client, repository string, digest v1.Hash, kind string, l registry.AnnotatedLayer) error {
	to, err := c.Pusher(repository + ":" + besideTag(digest, kind))
	if err != nil {
		return err
	}
	_, err = to.AppendLayers(ctx, l)
	return err
}

// besideTag is where cosign keeps things of a kind (sig, att, sbom) about a manifest.
func besideTag(digest v1.Hash, kind string) string {
	return digest.Algorithm + "-" + digest.Hex + "." + kind
}

func artifact(subject v1.Descriptor, predicateType string, bundle []byte, now time.Time) registry.Referrer {
	return registry.Referrer{
		Type: bundleType, Subject: subject, MediaType: types.MediaType(bundleType), Content: bundle,
		Annotations: map[string]string{
			annotationCreated: stamp(now), annotationContent: "dsse-envelope", annotationPredicate: predicateType,
		},
	}
}
