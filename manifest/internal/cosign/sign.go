package cosign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/registry"
)

// Signer signs with a key, or with certificates for keys that nobody keeps; it
// is a merge.Signer. It signs no manifest twice: where a valid signature by its
// key or identity, with its annotations, is there in the wanted format, there is
// nothing to do. Which certificates are valid only a TrustedRoot can say.
type Signer struct {
	Registry *registry.Client
	// Key signs where there are no Certificates.
	Key          signature.SignerVerifier
	Certificates *Certificates
	// Services vouch for what is signed; the zero value contacts nobody.
	Services Services
	// TrustedRoot, if set, is what signatures are verified by before they are written.
	TrustedRoot root.TrustedMaterial
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
		v, err := s.self(ctx, f)
		if err != nil {
			return err
		}
		done, err := isSigned(ctx, v, repository, d.Digest)
		if err != nil {
			return err
		}
		if !done {
			if err := s.signAs(ctx, f, v, repository, d); err != nil {
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

// self verifies our own signatures of a format; nil where nobody can.
func (s *Signer) self(ctx context.Context, f Format) (*Verifier, error) {
	p := Policy{Key: s.Key, TrustedRoot: s.TrustedRoot, Format: f, IgnoreLog: true}
	if s.TrustedRoot != nil {
		p.IgnoreLog, p.IgnoreSCT = len(s.Services.Logs) == 0, len(s.TrustedRoot.CTLogs()) == 0
		p.Timestamps = len(s.Services.Timestamps) > 0
	}
	if s.Certificates != nil {
		if s.TrustedRoot == nil {
			return nil, nil
		}
		var err error
		p.Key = nil
		if p.Identity, _, err = s.Certificates.Identity(ctx); err != nil {
			return nil, err
		}
	}
	return &Verifier{Registry: s.Registry, Policy: p}, nil
}

// isSigned looks for a signature of our own. Only a clear answer counts.
func isSigned(ctx context.Context, v *Verifier, repository string, digest v1.Hash) (bool, error) {
	if v == nil {
		return false, nil
	}
	_, err := v.Signatures(ctx, repository, digest)
	switch {
	case err == nil:
		return true, nil
	case isAnswer(err):
		return false, nil
	}
	return false, fmt.Errorf("find out whether %s@%s is signed: %w", repository, digest, err)
}

// isAnswer tells that an error says for sure that nothing is there that fits.
func isAnswer(err error) bool {
	return errors.Is(err, ErrNoSignature) || errors.Is(err, ErrNoMatch) || errors.Is(err, ErrNoCertificate)
}

func (s *Signer) signAs(ctx context.Context, f Format, v *Verifier, repository string, d v1.Descriptor) error {
	if f == Legacy {
		return s.signLegacy(ctx, v, repository, d.Digest)
	}
	st := attest.Statement{
		Type: attest.StatementV1, PredicateType: signPredicate, Predicate: json.RawMessage("{}"),
		Subject: []attest.Resource{{Digest: map[string]string{d.Digest.Algorithm: d.Digest.Hex}, Annotations: s.Annotations}},
	}
	b, made, err := s.bundleOf(ctx, st)
	if err != nil {
		return err
	}
	if err := v.good(func() error { _, err := v.signature(ctx, made, d.Digest); return err }); err != nil {
		return err
	}
	return s.attach(ctx, repository, d, signPredicate, b)
}

// good verifies what has just been made, where that can be done.
func (v *Verifier) good(verify func() error) error {
	if v == nil || v.Policy.TrustedRoot == nil {
		return nil
	}
	if err := verify(); err != nil {
		return fmt.Errorf("what the services have answered does not verify by the trusted root, and is not written: %w", err)
	}
	return nil
}

// signLegacy adds a signature to the image that holds them.
func (s *Signer) signLegacy(ctx context.Context, v *Verifier, repository string, digest v1.Hash) error {
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
	b, cert, err := s.seal(ctx, &sign.PlainData{Data: p}, true)
	if err != nil {
		return err
	}
	beside, err := legacyAnnotations(b, cert, nil)
	if err != nil {
		return err
	}
	err = v.good(func() error {
		sig, err := legacySignature(p, v1.Descriptor{MediaType: simpleSigning, Annotations: beside})
		if err == nil {
			_, err = v.signature(ctx, found{legacy: sig}, digest)
		}
		return err
	})
	if err != nil {
		return err
	}
	return appendTo(ctx, s.Registry, repository, digest, "sig", registry.AnnotatedLayer{
		Layer: static.NewLayer(p, simpleSigning), Annotations: beside,
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
