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
	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/strake-build/strake/shared/attest"
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
		v, err := s.self(ctx, f)
		if err != nil {
			return err
		}
		done, err := isAttested(ctx, v, repository, d.Digest, predicateType, predicate)
		if err != nil {
			return err
		}
		if !done {
			if err := s.attestAs(ctx, f, v, repository, d, predicateType, predicate); err != nil {
				return err
			}
		}
		s.report(Signed{repository, d.Digest, f, done})
	}
	return nil
}

func isAttested(ctx context.Context, v *Verifier, repository string, digest v1.Hash, predicateType string, predicate json.RawMessage) (bool, error) {
	if v == nil {
		return false, nil
	}
	all, err := v.Attestations(ctx, repository, digest, predicateType, nil)
	if isAnswer(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find out whether %s@%s is attested: %w", repository, digest, err)
	}
	return slices.ContainsFunc(all, func(a Verified) bool {
		var st attest.Statement
		return json.Unmarshal(a.Payload, &st) == nil && sameJSON(st.Predicate, predicate)
	}), nil
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func (s *Signer) attestAs(ctx context.Context, f Format, v *Verifier, repository string, d v1.Descriptor, predicateType string, predicate json.RawMessage) error {
	st := attest.Statement{
		Type: attest.StatementV1, PredicateType: predicateType, Predicate: predicate,
		Subject: []attest.Resource{{Name: repository, Digest: map[string]string{d.Digest.Algorithm: d.Digest.Hex}}},
	}
	if f == Legacy {
		return s.attestLegacy(ctx, v, repository, d.Digest, st)
	}
	b, made, err := s.bundleOf(ctx, st)
	if err != nil {
		return err
	}
	if err := v.good(func() error { _, _, _, err := v.attestation(ctx, made, d.Digest, predicateType); return err }); err != nil {
		return err
	}
	return s.attach(ctx, repository, d, predicateType, b)
}

// attestLegacy adds an attestation to the image that holds them.
func (s *Signer) attestLegacy(ctx context.Context, v *Verifier, repository string, digest v1.Hash, st attest.Statement) error {
	st.Type = statementV01 // what cosign 2 writes there, and its readers expect
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	b, cert, err := s.seal(ctx, &sign.DSSEData{Data: data, PayloadType: inTotoType}, false)
	if err != nil {
		return err
	}
	// These bytes are what the log has the digest of, and of them is the timestamp.
	signed, err := json.Marshal(b.GetDsseEnvelope())
	if err != nil {
		return err
	}
	stamp, err := s.Services.timestamp(ctx, signed)
	if err != nil {
		return err
	}
	beside, err := legacyAnnotations(b, cert, stamp)
	if err != nil {
		return err
	}
	beside[annotationAttestation] = st.PredicateType
	err = v.good(func() error {
		sig, err := legacySignature(signed, v1.Descriptor{MediaType: dsseType, Annotations: beside})
		if err == nil {
			_, _, err = v.legacyAttestation(ctx, found{legacy: sig}, digest)
		}
		return err
	})
	if err != nil {
		return err
	}
	return appendTo(ctx, s.Registry, repository, digest, "att", registry.AnnotatedLayer{
		Layer: static.NewLayer(signed, dsseType), Annotations: beside,
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

func (v *Verifier) attestation(ctx context.Context, f found, digest v1.Hash, predicateType string) (*attest.Statement, []byte, Format, error) {
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

func (v *Verifier) legacyAttestation(ctx context.Context, f found, digest v1.Hash) (*attest.Statement, []byte, error) {
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
	if err := about(raw, digest); err != nil {
		return nil, nil, err
	}
	co, err := v.Policy.options(f)
	if err != nil {
		return nil, nil, err
	}
	co.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
	err = guarded(func() error {
		_, _, err := cosign.VerifyImageAttestation(ctx, one{sig: f.legacy}, digest, co)
		return err
	})
	if err != nil {
		return nil, nil, v.Policy.blamed(err, f)
	}
	var st attest.Statement
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, nil, fmt.Errorf("read the statement: %w", err)
	}
	return &st, raw, nil
}
