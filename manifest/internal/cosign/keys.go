package cosign

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/cosign/env"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
)

// Keys finds keys by the names that users give them.
type Keys struct {
	// Password gives the password of a private key; twice asked when it is a new
	// one. It is only called where there is need of it.
	Password func(confirm bool) ([]byte, error)
	// Lookup reads the environment, for env://NAME.
	Lookup func(name string) (string, bool)
}

// Signer finds a private key: the file that generate-key-pair writes, env://NAME
// with its content, or the address of a key that a
// program sigstore-kms-NAME holds.
func (k Keys) Signer(ctx context.Context, ref string) (signature.SignerVerifier, error) {
	if sv, err := remoteKey(ctx, ref); sv != nil || err != nil {
		return sv, err
	}
	b, err := k.read(ref)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("key %s: it is no PEM", ref)
	}
	switch block.Type {
	case cosign.SigstorePrivateKeyPemType, cosign.CosignPrivateKeyPemType:
	case cosign.PrivateKeyPemType, cosign.ECPrivateKeyPemType, cosign.RSAPrivateKeyPemType:
		return nil, fmt.Errorf("key %s: it is a private key without a password; manifest import-key-pair --key makes one of it that can be used", ref)
	default:
		return nil, fmt.Errorf("key %s: it is a %s, not a private key", ref, block.Type)
	}
	password, err := k.Password(false)
	if err != nil {
		return nil, fmt.Errorf("password of key %s: %w", ref, err)
	}
	defer clear(password)
	sv, err := cosign.LoadPrivateKey(b, password, nil)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w; is the password right?", ref, err)
	}
	return sv, nil
}

// remoteKey finds a key that is elsewhere; nil for files and variables.
func remoteKey(ctx context.Context, ref string) (signature.SignerVerifier, error) {
	scheme, _, ok := strings.Cut(ref, "://")
	if !ok || scheme == "env" || scheme == "file" {
		return nil, nil
	}
	if scheme == "k8s" || scheme == "gitlab" || scheme == "github" || scheme == "pkcs11" {
		return nil, fmt.Errorf("key %s: %s:// is not in this program; hand the key on in a file or a variable (env://NAME), or by a program sigstore-kms-%s", ref, scheme, scheme)
	}
	sv, err := kms.Get(ctx, ref, crypto.SHA256)
	if _, none := errors.AsType[*kms.ProviderNotFoundError](err); none {
		return nil, fmt.Errorf("key %s: this program speaks to no such service itself, and there is no program sigstore-kms-%s in PATH", ref, scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", ref, err)
	}
	return sv, nil
}

// Verifier finds a public key: a PEM file, env://NAME with its content, or a
// key elsewhere.
func (k Keys) Verifier(ctx context.Context, ref string) (signature.Verifier, error) {
	if sv, err := remoteKey(ctx, ref); sv != nil || err != nil {
		return sv, err
	}
	b, err := k.read(ref)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(b, []byte("PRIVATE KEY")) {
		return nil, fmt.Errorf("key %s: it is a private key; give the public one", ref)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", ref, err)
	}
	v, err := signature.LoadDefaultVerifier(pub, *cosign.GetDefaultLoadOptions(nil)...)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", ref, err)
	}
	return v, nil
}

func (k Keys) read(ref string) ([]byte, error) {
	if name, ok := strings.CutPrefix(ref, "env://"); ok {
		s, ok := k.Lookup(name)
		if !ok || s == "" {
			return nil, fmt.Errorf("key %s: the variable is not set", ref)
		}
		return []byte(s), nil
	}
	b, err := os.ReadFile(strings.TrimPrefix(ref, "file://"))
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return b, nil
}

// Pair is a new pair of keys: the private one encrypted, both PEM.
type Pair struct{ Private, Public []byte }

// Generate makes an ECDSA P-256 pair.
func (k Keys) Generate() (*Pair, error) {
	kb, err := cosign.GenerateKeyPair(k.Password)
	return pair(kb, err)
}

// Import encrypts a private key that a file holds in the clear: PKCS #8, PKCS #1 or SEC 1.
func (k Keys) Import(path string) (*Pair, error) {
	kb, err := cosign.ImportKeyPair(path, k.Password)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", path, err)
	}
	return pair(kb, nil)
}

func pair(kb *cosign.KeysBytes, err error) (*Pair, error) {
	if err != nil {
		return nil, err
	}
	clear(kb.Password())
	return &Pair{kb.PrivateBytes, kb.PublicBytes}, nil
}

// PasswordVariable is where cosign looks for a key's password first.
func PasswordVariable() string { return env.VariablePassword.String() }
