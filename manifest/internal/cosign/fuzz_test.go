package cosign_test

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/manifest/internal/cosign"
)

// FuzzBundle reads anything as bundles, and verifies what can be read: nothing of it is signed by a key that is new.
func FuzzBundle(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"a"}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"MEUCIQ=="}]}}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.1","verificationMaterial":{"certificate":{"rawBytes":""},"tlogEntries":[{}],"timestampVerificationData":{"rfc3161Timestamps":[{}]}},"messageSignature":{}} {}`))
	v := &cosign.Verifier{Policy: cosign.Policy{Key: signer(f, nil, cosign.Bundle).Key, Format: cosign.Bundle, IgnoreLog: true}}
	digest := v1.Hash{Algorithm: "sha256", Hex: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var err error
		if v.Given, err = cosign.ReadBundles("it", raw); err != nil {
			return
		}
		if _, err := v.Signatures(t.Context(), "registry.example/app", digest); err == nil {
			t.Error("it is taken for a signature")
		}
		if _, err := v.Attestations(t.Context(), "registry.example/app", digest, predicateType, nil); err == nil {
			t.Error("it is taken for an attestation")
		}
	})
}

// FuzzCondition reads anything as a condition and as a statement.
func FuzzCondition(f *testing.F) {
	f.Add("$.predicate.list[*].uri =~ git.*", `{"predicate": {"list": [{"uri": "git+https"}]}}`)
	f.Add("$.predicate['a.b'] != 1", `{"predicate": {"a.b": null}}`)
	f.Fuzz(func(_ *testing.T, condition, statement string) {
		if c, err := cosign.ParseCondition(condition); err == nil {
			_ = c.Met([]byte(statement))
		}
	})
}
