package cosign

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/strake-build/strake/shared/attest"
)

// What is signed says of itself what it is and what it is about. That is looked at first, though nobody has verified it
// yet: cosign's packages tell of a signature that does not verify, and not of what is wrong with it.

// about looks at a statement.
func about(raw []byte, digest v1.Hash) error {
	var st attest.Statement
	if err := json.Unmarshal(raw, &st); err != nil {
		return fmt.Errorf("read the statement: %w", err)
	}
	if !strings.HasPrefix(st.Type, "https://in-toto.io/Statement/") {
		return fmt.Errorf("it is a %q, and no statement of in-toto's", st.Type)
	}
	if len(st.Subject) == 0 {
		return fmt.Errorf("the statement is about nothing, not about %s", digest)
	}
	var others []string
	for _, s := range st.Subject {
		if s.Digest[digest.Algorithm] == digest.Hex {
			return nil
		}
		others = append(others, digest.Algorithm+":"+s.Digest[digest.Algorithm])
	}
	return fmt.Errorf("the statement is about %s, not about %s", strings.Join(others, ", "), digest)
}

// claims looks at a legacy payload.
func claims(raw []byte, digest v1.Hash) error {
	var claim payload.SimpleContainerImage
	if err := json.Unmarshal(raw, &claim); err != nil {
		return fmt.Errorf("its payload is no JSON of the expected form: %w", err)
	}
	c := claim.Critical
	switch {
	case c.Type != simpleSigningClaim:
		return fmt.Errorf("its payload is a %q, not a %q", c.Type, simpleSigningClaim)
	case c.Image.DockerManifestDigest != digest.String():
		return fmt.Errorf("its payload is about %s, not about %s", c.Image.DockerManifestDigest, digest)
	}
	return nil
}

// blamed says whose fault it may be that a signature does not verify by the policy's key.
func (p Policy) blamed(verdict error, f found) error {
	if p.Key == nil || !isMismatch(verdict) {
		return verdict
	}
	if f.bundle == nil {
		return fmt.Errorf("another key has signed it, or it was changed afterwards: %w", verdict)
	}
	// The hint is only a hint: another one does not make a good signature bad.
	hint := f.bundle.GetVerificationMaterial().GetPublicKey().GetHint()
	pub, err := p.Key.PublicKey()
	if err != nil {
		return verdict
	}
	if der, err := x509.MarshalPKIXPublicKey(pub); err == nil && hint != "" && hint != hintOf(der) {
		return fmt.Errorf("another key has signed it: %w", verdict)
	}
	return fmt.Errorf("it was changed after this key has signed it: %w", verdict)
}

// isMismatch knows what cosign's packages say of a signature that is not one of the content by the key.
func isMismatch(err error) bool {
	for _, s := range []string{"accepted signatures do not match threshold", "invalid signature", "IEEE_P1363", "verification error", "failed to verify signature"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// hintOf is cosign's name for a public key in a bundle.
func hintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}
