package cosign

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	cbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	fulcio "github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/registry"
)

// Policy says whose signatures count: those of Key, or else of certificates
// that TrustedRoot vouches for, for the Identity.
type Policy struct {
	Key         signature.Verifier
	TrustedRoot root.TrustedMaterial
	Identity    Identity
	GitHub      Workflow
	// Annotations must all be on a signature.
	Annotations map[string]string
	Format      Format
	// IgnoreLog does without an entry in a transparency log, IgnoreSCT without
	// the certificate's.
	IgnoreLog, IgnoreSCT bool
	// Timestamps wants a signed timestamp. One that is there is looked at anyway,
	// if the TrustedRoot knows an authority.
	Timestamps bool
}

// Identity is whom a certificate must name, and who vouched for that: each the
// very words, or a regular expression.
type Identity struct{ Subject, SubjectRegExp, Issuer, IssuerRegExp string }

// Workflow is what a certificate must say about the workflow on GitHub that has
// signed; what is empty may be anything.
type Workflow struct{ Trigger, SHA, Name, Repository, Ref string }

// TrustedRoot reads a trusted_root.json: the authorities and logs to trust.
func TrustedRoot(path string) (root.TrustedMaterial, error) {
	r, err := root.NewTrustedRootFromPath(path)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Verifier verifies by a policy. It is a merge.Verifier.
type Verifier struct {
	Registry *registry.Client
	Policy   Policy
	// Given are bundles to be looked at in place of what the registry has beside an image.
	Given Given
}

// Verified is a signature or attestation that fits the policy.
type Verified struct {
	Format Format
	Where  string
	// Payload is what was signed: simple signing JSON, or a statement.
	Payload json.RawMessage
}

// Verify tells whether a manifest has a signature that fits.
func (v *Verifier) Verify(ctx context.Context, repository string, digest v1.Hash) error {
	_, err := v.Signatures(ctx, repository, digest)
	return err
}

// Signatures gives the signatures that fit the policy. Without any, the error
// is ErrNoSignature where there is none at all, ErrNoMatch where there are
// others, ErrNoCertificate where a certificate is wanted and keys have signed,
// and of no such kind where it could not be found out.
func (v *Verifier) Signatures(ctx context.Context, repository string, digest v1.Hash) ([]Verified, error) {
	all, err := v.look(ctx, repository, digest, "sig", simpleSigning)
	return v.judge(all, err, repository, digest, func(f found) (*Verified, error) { return v.signature(ctx, f, digest) })
}

// look collects candidates of the policy's formats. What could be read is
// given also with an error.
func (v *Verifier) look(ctx context.Context, repository string, digest v1.Hash, kind, mediaType string) ([]found, error) {
	if v.Given != nil {
		return v.Given, nil
	}
	var all []found
	var errs []error
	if v.Policy.Format.has(Legacy) {
		fs, err := legacyBeside(ctx, v.Registry, repository, digest, kind, mediaType)
		all, errs = append(all, fs...), append(errs, err)
	}
	if v.Policy.Format.has(Bundle) {
		fs, err := referring(ctx, v.Registry, repository, digest)
		all, errs = append(all, fs...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// errOther says that something is none of what is looked for.
var errOther = errors.New("something else")

// judge asks test about every candidate. What could not be read never makes
// "unsigned" of "unknown", and one that fits is enough.
func (v *Verifier) judge(all []found, unread error, repository string, digest v1.Hash, test func(found) (*Verified, error)) ([]Verified, error) {
	var good []Verified
	var reasons, others []error
	for _, f := range all {
		ok, err := f.judged(test)
		switch {
		case errors.Is(err, errOther):
			others = append(others, err)
		case err != nil:
			reasons = append(reasons, fmt.Errorf("%s: %w", f.where, err))
		default:
			good = append(good, *ok)
		}
	}
	what := repository + "@" + digest.String()
	switch {
	case len(good) > 0:
		return good, nil
	case unread != nil:
		return nil, unread
	case len(reasons) == 0 && len(others) > 0:
		return nil, fmt.Errorf("%s: %w; there is %w", what, ErrNoSignature, errors.Join(others...))
	case len(reasons) == 0:
		return nil, fmt.Errorf("%s: %w", what, ErrNoSignature)
	case v.Policy.Key == nil && allNoCertificate(reasons):
		return nil, fmt.Errorf("%s: %w: %w", what, ErrNoCertificate, errors.Join(reasons...))
	}
	return nil, fmt.Errorf("%s: %w: %w", what, ErrNoMatch, errors.Join(reasons...))
}

func (f found) judged(test func(found) (*Verified, error)) (*Verified, error) {
	if f.unreadable != nil {
		return nil, f.unreadable
	}
	return test(f)
}

func allNoCertificate(reasons []error) bool {
	for _, err := range reasons {
		if !errors.Is(err, errNoCertificate) {
			return false
		}
	}
	return true
}

// options are cosign's words for the policy, as it is to be met by one candidate.
// What the policy wants and the candidate lacks is told here: cosign's packages
// have vague words for it, or none.
func (p Policy) options(f found) (*cosign.CheckOpts, error) {
	has, err := f.material()
	if err != nil {
		return nil, err
	}
	switch {
	case p.Key == nil && !has.certificate:
		return nil, errNoCertificate
	case p.Key == nil && f.bundle == nil:
		if err := p.Identity.names(f.legacy); err != nil {
			return nil, err
		}
	}
	switch {
	case p.Key != nil && has.certificate && f.bundle != nil:
		return nil, errors.New("a certificate vouches for it, not a key")
	case !p.IgnoreLog && !has.entry:
		return nil, errors.New("it has no entry of a transparency log")
	case p.Timestamps && !has.timestamp:
		return nil, errors.New("it has no signed timestamp")
	case (!p.IgnoreLog || p.Timestamps) && p.TrustedRoot == nil:
		return nil, errors.New("without a trusted root, no log and no timestamp can be verified")
	}
	co := &cosign.CheckOpts{
		SigVerifier: p.Key, TrustedMaterial: p.TrustedRoot, IgnoreTlog: p.IgnoreLog, IgnoreSCT: p.IgnoreSCT, Offline: true,
		CertGithubWorkflowTrigger: p.GitHub.Trigger, CertGithubWorkflowSha: p.GitHub.SHA, CertGithubWorkflowName: p.GitHub.Name,
		CertGithubWorkflowRepository: p.GitHub.Repository, CertGithubWorkflowRef: p.GitHub.Ref,
	}
	// A timestamp that can be checked is: entries of newer logs tell no time.
	co.UseSignedTimestamps = p.Timestamps || has.timestamp && p.TrustedRoot != nil && len(p.TrustedRoot.TimestampingAuthorities()) > 0
	if co.UseSignedTimestamps && f.bundle == nil {
		if err := p.legacyTimestamp(f.legacy); err != nil {
			return nil, err
		}
	}
	if p.Key == nil {
		co.Identities = []cosign.Identity{{
			Subject: p.Identity.Subject, SubjectRegExp: p.Identity.SubjectRegExp,
			Issuer: p.Identity.Issuer, IssuerRegExp: p.Identity.IssuerRegExp,
		}}
	}
	if co.TrustedMaterial == nil {
		// Bundles want one even where a plain key is all that counts.
		co.TrustedMaterial = &root.BaseTrustedMaterial{}
	}
	return co, nil
}

// legacyTimestamp looks at a timestamp before cosign does, which takes it for
// granted that there is one by an authority of the trusted root.
func (p Policy) legacyTimestamp(sig oci.Signature) error {
	stamp, err := sig.RFC3161Timestamp()
	if err != nil {
		return err
	}
	text, err := sig.Base64Signature()
	if err != nil {
		return err
	}
	of, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("read the signature: %w", err)
	}
	if text == "" { // of an attestation
		if of, err = sig.Payload(); err != nil {
			return err
		}
	}
	errs := []error{errors.New("the trusted root knows no authority that has made it")}
	for _, a := range p.TrustedRoot.TimestampingAuthorities() {
		_, err := a.Verify(stamp.SignedRFC3161Timestamp, of)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("its signed timestamp does not verify: %w", errors.Join(errs...))
}

// names tells whether a legacy signature's certificate is an identity's, in the
// words that are used for bundles.
func (i Identity) names(sig oci.Signature) error {
	want, err := verify.NewShortCertificateIdentity(i.Issuer, i.IssuerRegExp, i.Subject, i.SubjectRegExp)
	if err != nil {
		return err
	}
	cert, err := sig.Cert()
	if err != nil {
		return err
	}
	has, err := fulcio.SummarizeCertificate(cert)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	return want.Verify(has)
}

var errNoCertificate = errors.New("it is signed with a key, and has no certificate")

// material is what a candidate brings along to vouch for it.
type material struct{ certificate, entry, timestamp bool }

func (f found) material() (m material, err error) {
	if f.bundle != nil {
		vm := f.bundle.GetVerificationMaterial()
		return material{
			vm.GetCertificate() != nil || vm.GetX509CertificateChain() != nil, len(vm.GetTlogEntries()) > 0,
			len(vm.GetTimestampVerificationData().GetRfc3161Timestamps()) > 0,
		}, nil
	}
	cert, err1 := f.legacy.Cert()
	_, err2 := f.legacy.Chain()
	if err := errors.Join(err1, err2); err != nil {
		return m, fmt.Errorf("read the certificate: %w", err)
	}
	entry, err1 := f.legacy.Bundle()
	stamp, err2 := f.legacy.RFC3161Timestamp()
	return material{cert != nil, entry != nil, stamp != nil}, errors.Join(err1, err2)
}

// guarded makes an error of a panic: cosign's packages trust what logs and
// registries say to be of the form that they expect.
func guarded(verify func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it is malformed: %v", r)
		}
	}()
	if err := verify(); err != nil {
		if short := pemBlock.ReplaceAllString(err.Error(), "(PEM)"); short != err.Error() {
			return errors.New(short)
		}
		return err
	}
	return nil
}

// explained says what is wrong with a bundle's log entries where the verdict is
// only that there are not enough.
func (p Policy) explained(verdict error, f found) error {
	if p.IgnoreLog || p.TrustedRoot == nil {
		return verdict
	}
	errs := []error{verdict}
	for i, e := range f.bundle.GetVerificationMaterial().GetTlogEntries() {
		err := guarded(func() error {
			entry, err := tlog.ParseTransparencyLogEntry(e)
			if err != nil || !entry.HasInclusionPromise() {
				return err
			}
			return tlog.VerifySET(entry, p.TrustedRoot.RekorLogs())
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("log entry %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// pemBlock is what nobody wants to read in a message.
var pemBlock = regexp.MustCompile(`(?s)-----BEGIN [^-]*-----.*?-----END [^-]*-----\s*`)

func (v *Verifier) signature(ctx context.Context, f found, digest v1.Hash) (*Verified, error) {
	if f.bundle != nil {
		return v.bundleSignature(ctx, f, digest)
	}
	p, err := f.legacy.Payload()
	if err != nil {
		return nil, err
	}
	if err := claims(p, digest); err != nil {
		return nil, err
	}
	if text, err := f.legacy.Base64Signature(); err != nil || text == "" {
		return nil, errors.Join(errors.New("there is a payload, and no signature of it"), err)
	}
	co, err := v.Policy.options(f)
	if err != nil {
		return nil, err
	}
	co.ClaimVerifier = cosign.SimpleClaimVerifier
	co.Annotations = map[string]any{}
	for k, val := range v.Policy.Annotations {
		co.Annotations[k] = val
	}
	err = guarded(func() error {
		_, err := cosign.VerifyImageSignature(ctx, f.legacy, digest, co)
		return err
	})
	if err != nil {
		return nil, v.Policy.blamed(err, f)
	}
	return &Verified{Legacy, f.where, p}, nil
}

func (v *Verifier) bundleSignature(ctx context.Context, f found, digest v1.Hash) (*Verified, error) {
	// Any bundle about the digest would do for cosign's packages.
	if t := f.predicateType(); t != signPredicate {
		return nil, fmt.Errorf("%w: %s is a statement of type %q", errOther, f.where, t)
	}
	st, raw, err := v.statement(ctx, f, digest)
	if err != nil {
		return nil, err
	}
	for _, s := range st.Subject {
		if s.Digest[digest.Algorithm] == digest.Hex && has(s.Annotations, v.Policy.Annotations) {
			return &Verified{Bundle, f.where, raw}, nil
		}
	}
	return nil, errors.New("missing or incorrect annotation")
}

func has(have, want map[string]string) bool {
	for k, val := range want {
		if got, ok := have[k]; !ok || got != val {
			return false
		}
	}
	return true
}

// predicateType is what a bundle's statement calls itself; nobody has verified it.
func (f found) predicateType() string {
	var st attest.Statement
	if err := json.Unmarshal(f.bundle.GetDsseEnvelope().GetPayload(), &st); err != nil {
		return ""
	}
	return st.PredicateType
}

// statement verifies a bundle and gives the statement in it.
func (v *Verifier) statement(ctx context.Context, f found, digest v1.Hash) (*attest.Statement, []byte, error) {
	env := f.bundle.GetDsseEnvelope()
	switch {
	case env == nil:
		return nil, nil, errors.New("the bundle has no DSSE envelope")
	case env.GetPayloadType() != inTotoType:
		return nil, nil, fmt.Errorf("the envelope's payload is a %q, not a %q", env.GetPayloadType(), inTotoType)
	case len(env.GetSignatures()) != 1:
		return nil, nil, fmt.Errorf("the envelope has %d signatures, not one", len(env.GetSignatures()))
	}
	if err := about(env.GetPayload(), digest); err != nil {
		return nil, nil, err
	}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		return nil, nil, err
	}
	co, err := v.Policy.options(f)
	if err != nil {
		return nil, nil, err
	}
	err = guarded(func() error {
		_, err := cosign.VerifyNewBundle(ctx, co, verify.WithArtifactDigest(digest.Algorithm, sum), f.bundle)
		return err
	})
	if err != nil {
		return nil, nil, v.Policy.explained(v.Policy.blamed(err, f), f)
	}
	var st attest.Statement
	if err := json.Unmarshal(env.GetPayload(), &st); err != nil {
		return nil, nil, fmt.Errorf("read the statement: %w", err)
	}
	return &st, env.GetPayload(), nil
}

func rekorBundle(s string) (*cbundle.RekorBundle, error) {
	b := new(cbundle.RekorBundle)
	if err := json.Unmarshal([]byte(s), b); err != nil {
		return nil, fmt.Errorf("read the log entry: %w", err)
	}
	if _, ok := b.Payload.Body.(string); !ok {
		return nil, errors.New("read the log entry: it has no body")
	}
	return b, nil
}

func signedTimestamp(s string) (*cbundle.RFC3161Timestamp, error) {
	t := new(cbundle.RFC3161Timestamp)
	if err := json.Unmarshal([]byte(s), t); err != nil {
		return nil, fmt.Errorf("read the timestamp: %w", err)
	}
	return t, nil
}
