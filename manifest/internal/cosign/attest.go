package cosign

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci"

	"github.com/strake-build/strake/shared/registry"
)

// predicateTypes are cosign's short names.
func predicateTypes() map[string]string {
	return map[string]string{
		"slsaprovenance": "https://slsa.dev/provenance/v0.2", "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
		"slsaprovenance1": "https://slsa.dev/provenance/v1", "link": "https://in-toto.io/Link/v1",
		"spdx": "https://spdx.dev/Document", "spdxjson": "https://spdx.dev/Document",
		"cyclonedx": "https://cyclonedx.org/bom", "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
		"openvex": "https://openvex.dev/ns", "custom": "https://cosign.sigstore.dev/attestation/v1",
	}
}

// PredicateType gives the type of a predicate, by cosign's short name or a URI.
func PredicateType(s string) (string, error) {
	if t, ok := predicateTypes()[s]; ok {
		return t, nil
	}
	if strings.Contains(s, ":") && !strings.ContainsAny(s, " \t\n") {
		return s, nil
	}
	return "", fmt.Errorf("predicate type %q: it is a URI, or %s", s, strings.Join(slices.Sorted(maps.Keys(predicateTypes())), ", "))
}

// Attest puts a signed statement about a manifest beside it. A valid one by the
// same key that says the same is enough.
func (s *Signer) Attest(ctx context.Context, repository string, d v1.Descriptor, predicateType string, predicate json.RawMessage) error {
	if !json.Valid(predicate) {
		return errors.New("the predicate is no JSON")
	}
	for _, f := range []Format{Legacy, Bundle} {
		if !s.Format.has(f) {
			continue
		}
		done, err := s.isAttested(ctx, repository, d.Digest, f, predicateType, predicate)
		if err != nil {
			return err
		}
		if !done {
			if err := s.attestAs(ctx, f, repository, d, predicateType, predicate); err != nil {
				return err
			}
		}
		s.report(Signed{repository, d.Digest, f, done})
	}
	return nil
}

func (s *Signer) isAttested(ctx context.Context, repository string, digest v1.Hash, f Format, predicateType string, predicate json.RawMessage) (bool, error) {
	v := &Verifier{Registry: s.Registry, Policy: Policy{Key: s.Key, Format: f, IgnoreLog: true}}
	all, err := v.Attestations(ctx, repository, digest, predicateType, nil)
	if errors.Is(err, ErrNoSignature) || errors.Is(err, ErrNoMatch) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find out whether %s@%s is attested: %w", repository, digest, err)
	}
	return slices.ContainsFunc(all, func(a Verified) bool {
		var st Statement
		return json.Unmarshal(a.Payload, &st) == nil && sameJSON(st.Predicate, predicate)
	}), nil
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func (s *Signer) attestAs(ctx context.Context, f Format, repository string, d v1.Descriptor, predicateType string, predicate json.RawMessage) error {
	st := Statement{
		Type: statementV1, PredicateType: predicateType, Predicate: predicate,
		Subject: []Subject{{Name: repository, Digest: map[string]string{d.Digest.Algorithm: d.Digest.Hex}}},
	}
	if f == Bundle {
		b, err := bundleOf(ctx, s.Key, st)
		if err != nil {
			return err
		}
		return s.attach(ctx, repository, d, predicateType, b)
	}
	st.Type = statementV01 // what cosign 2 writes there, and its readers expect
	_, signed, err := envelope(ctx, s.Key, st)
	if err != nil {
		return err
	}
	return appendTo(ctx, s.Registry, repository, d.Digest, "att", registry.AnnotatedLayer{
		Layer:       static.NewLayer(signed, dsseType),
		Annotations: map[string]string{annotationSignature: "", annotationAttestation: predicateType},
	})
}

// Attestations gives the attestations of a type that fit the policy and meet all
// conditions. Errors are as those of Signatures.
func (v *Verifier) Attestations(ctx context.Context, repository string, digest v1.Hash, predicateType string, conditions []Condition) ([]Verified, error) {
	all, err := v.look(ctx, repository, digest, "att", dsseType)
	return v.judge(all, err, repository, digest, func(f found) (*Verified, error) {
		st, raw, format, err := v.attestation(ctx, f, digest, predicateType)
		if err != nil {
			return nil, err
		}
		if st.PredicateType != predicateType {
			return nil, fmt.Errorf("%w: %s is a statement of type %q", errOther, f.where, st.PredicateType)
		}
		return &Verified{format, f.where, raw}, met(raw, conditions)
	})
}

func met(statement []byte, conditions []Condition) error {
	var errs []error
	for _, c := range conditions {
		errs = append(errs, c.Met(statement))
	}
	return errors.Join(errs...)
}

func (v *Verifier) attestation(ctx context.Context, f found, digest v1.Hash, predicateType string) (*Statement, []byte, Format, error) {
	if f.bundle != nil {
		if t := f.predicateType(); t != predicateType {
			return nil, nil, Bundle, fmt.Errorf("%w: %s is a statement of type %q", errOther, f.where, t)
		}
		st, raw, err := v.statement(ctx, f, digest)
		return st, raw, Bundle, err
	}
	st, raw, err := v.legacyAttestation(ctx, f, digest)
	return st, raw, Legacy, err
}

// one is a list of one attestation, as cosign wants them.
type one struct {
	v1.Image
	sig oci.Signature
}

func (o one) Get() ([]oci.Signature, error) { return []oci.Signature{o.sig}, nil }

func (v *Verifier) legacyAttestation(ctx context.Context, f found, digest v1.Hash) (*Statement, []byte, error) {
	p, err := f.legacy.Payload()
	if err != nil {
		return nil, nil, err
	}
	var env struct {
		PayloadType string            `json:"payloadType"`
		Payload     string            `json:"payload"`
		Signatures  []json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(p, &env); err != nil {
		return nil, nil, fmt.Errorf("read the envelope: %w", err)
	}
	switch {
	case env.PayloadType != inTotoType:
		return nil, nil, fmt.Errorf("the envelope's payload is a %q, not a %q", env.PayloadType, inTotoType)
	case len(env.Signatures) != 1:
		return nil, nil, fmt.Errorf("the envelope has %d signatures, not one", len(env.Signatures))
	}
	raw, err := base64.StdEncoding.DecodeString(env.Payload)
	if err != nil {
		return nil, nil, fmt.Errorf("read the envelope: %w", err)
	}
	co := v.Policy.options()
	co.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
	if _, _, err := cosign.VerifyImageAttestation(ctx, one{sig: f.legacy}, digest, co); err != nil {
		return nil, nil, err
	}
	var st Statement
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, nil, fmt.Errorf("read the statement: %w", err)
	}
	return &st, raw, nil
}
