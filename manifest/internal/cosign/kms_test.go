//go:build kms

package cosign_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/strake-build/strake/manifest/internal/cosign"
)

// vault speaks as much of Vault's transit engine as signing needs.
func vault(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, data map[string]any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]any{"data": data}); err != nil {
			t.Error(err)
		}
	}
	input := func(req *http.Request) (digest, sig []byte) {
		var in struct{ Input, Signature string }
		if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		digest, _ = base64.StdEncoding.DecodeString(in.Input)
		sig, _ = base64.StdEncoding.DecodeString(strings.TrimPrefix(in.Signature, "vault:v1:"))
		return digest, sig
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/transit/keys/release", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"latest_version": 1, "type": "ecdsa-p256", "keys": map[string]any{"1": map[string]any{"public_key": string(public)}}})
	})
	mux.HandleFunc("/v1/transit/sign/release/{hash}", func(w http.ResponseWriter, req *http.Request) {
		digest, _ := input(req)
		sig, err := ecdsa.SignASN1(rand.Reader, key, digest)
		if err != nil {
			t.Error(err)
		}
		answer(w, map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)})
	})
	mux.HandleFunc("/v1/transit/verify/release/{hash}", func(w http.ResponseWriter, req *http.Request) {
		digest, sig := input(req)
		answer(w, map[string]any{"valid": ecdsa.VerifyASN1(&key.PublicKey, digest, sig)})
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	t.Setenv("VAULT_ADDR", srv.URL)
	t.Setenv("VAULT_TOKEN", "token")
}

// TestVault signs with a key that never leaves its service.
func TestVault(t *testing.T) {
	vault(t)
	w := signed(t, cosign.Both)
	key, err := (cosign.Keys{}).Signer(t.Context(), "hashivault://release")
	if err != nil {
		t.Fatal(err)
	}
	w.signer.Key = key
	w.signAll()
	public, err := (cosign.Keys{}).Verifier(t.Context(), "hashivault://release")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []cosign.Format{cosign.Legacy, cosign.Bundle} {
		v := w.verifier(f)
		v.Policy.Key = public
		if _, err := v.Signatures(t.Context(), w.server.Ref("app"), w.image.Digest); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if _, err := v.Signatures(t.Context(), w.server.Ref("app"), w.other.Digest); err == nil {
			t.Errorf("%s: an image that nobody signed is taken", f)
		}
	}
}

// TestKeyServices: this build has all that it should have.
func TestKeyServices(t *testing.T) {
	if got, want := cosign.KeyServices(), []string{"awskms://", "azurekms://", "gcpkms://", "hashivault://", "openbao://"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
