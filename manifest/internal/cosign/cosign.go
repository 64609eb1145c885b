// Package cosign signs and verifies manifests in registries, in cosign's forms and with cosign's own packages.
//
// Everything is read and written through the registry client, which tells "there
// is none" from "it could not be found out"; cosign's packages make and judge
// keys, payloads, signatures, certificates and bundles. With a local key no host
// but the registry is contacted.
package cosign

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/types"
)

// Format is how signatures and attestations are kept beside a manifest.
type Format string

// The formats. Verifiers of the field are split between them.
const (
	Legacy Format = "legacy" // in an image under the tag sha256-<hex>.sig or .att: cosign 1 and 2
	Bundle Format = "bundle" // a Sigstore bundle that refers to the manifest: cosign 3
	Both   Format = "both"   // when verifying, either will do
)

// ParseFormat reads a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Legacy, Bundle, Both:
		return f, nil
	}
	return "", fmt.Errorf("signature format %q: it is legacy, bundle or both", s)
}

func (f Format) has(one Format) bool { return f == one || f == Both }

// The outcomes of a verification that is not a success, after cosign's exit codes.
var (
	ErrNoSignature   = errors.New("no signature")
	ErrNoTag         = errors.New("no such image")
	ErrNoMatch       = errors.New("no signature that fits")
	ErrNoCertificate = errors.New("no certificate on the signature")
)

// ExitCode is the code that cosign verify ends with; 0 for errors of other kinds.
func ExitCode(err error) int {
	for code, kind := range map[int]error{10: ErrNoSignature, 11: ErrNoTag, 12: ErrNoMatch, 13: ErrNoCertificate} {
		if errors.Is(err, kind) {
			return code
		}
	}
	return 0
}

// Media types and annotations of cosign's specifications that its packages do not export.
const (
	bundleType       = "application/vnd.dev.sigstore.bundle.v0.3+json"
	bundlePrefix     = "application/vnd.dev.sigstore.bundle"
	signatureOCIType = "application/vnd.dev.cosign.artifact.sig.v1+json" // a legacy signature as a referrer
	emptyConfigType  = "application/vnd.oci.empty.v1+json"

	annotationSignature         = "dev.cosignproject.cosign/signature"
	annotationContent           = "dev.sigstore.bundle.content"
	annotationPredicate         = "dev.sigstore.bundle.predicateType"
	annotationCreated           = "org.opencontainers.image.created"
	annotationAttestation       = "predicateType"
	simpleSigningClaim          = "cosign container image signature"
	statementV01                = "https://in-toto.io/Statement/v0.1"
	signPredicate               = types.CosignSignPredicateType
	simpleSigning               = types.SimpleSigningMediaType
	dsseType                    = types.DssePayloadType
	inTotoType                  = types.IntotoPayloadType
	mostBytes             int64 = 64 << 20 // of a payload, envelope or bundle
)

// isBundle tells whether a media or artifact type is a bundle's, of any version.
func isBundle(t string) bool { return strings.HasPrefix(t, bundlePrefix) }
