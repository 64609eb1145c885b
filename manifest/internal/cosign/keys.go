package cosign

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/cosign/env"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Keys finds keys by the names that users give them.
type Keys struct {
	// Password gives the password of a private key; twice asked when it is a new
	// one. It is only called where there is need of it.
	Password func(confirm bool) ([]byte, error)
	// Lookup reads the environment, for env://NAME.
	Lookup func(name string) (string, bool)
	// ServiceAccount is the directory of a pod's own; empty for the usual one.
	ServiceAccount string
}

// Signer finds a private key: the file that generate-key-pair writes, env://NAME
// with its content, a secret k8s://NAMESPACE/NAME, variables of gitlab://PROJECT, or the address of a key that a
// service or a program sigstore-kms-NAME holds.
func (k Keys) Signer(ctx context.Context, ref string) (signature.SignerVerifier, error) {
	if sv, err := remoteKey(ctx, ref); sv != nil || err != nil {
		return sv, err
	}
	ask := k.Password
	var b []byte
	var err error
	if isSecret(ref) {
		s, err := k.secret(ctx, ref, secretPrivate)
		if err != nil {
			return nil, err
		}
		b = s[secretPrivate]
		if p, ok := s[secretPassword]; ok {
			ask = func(bool) ([]byte, error) { return p, nil }
		}
	} else if b, err = k.read(ref); err != nil {
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
	password, err := ask(false)
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
	if strings.HasPrefix(ref, "pkcs11:") && !ok {
		return nil, fmt.Errorf("key %s: %s", ref, noModules)
	}
	if !ok || scheme == "env" || scheme == "file" || isSecret(ref) {
		return nil, nil
	}
	sv, err := kms.Get(ctx, ref, crypto.SHA256)
	if _, none := errors.AsType[*kms.ProviderNotFoundError](err); none {
		why := "this program speaks to no such service itself"
		switch {
		case slices.Contains(cloudServices(), scheme+"://"):
			why = "this is a build without cloud services (go build -tags kms makes one with them)"
		case scheme == "pkcs11":
			why = noModules
		case scheme == "github":
			why = "GitHub shows nobody its secrets: a workflow gets them in variables (env://NAME)"
		}
		return nil, fmt.Errorf("key %s: %s, and there is no program sigstore-kms-%s in PATH", ref, why, scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", ref, err)
	}
	// Whether it can be used is known only now.
	if _, err := sv.PublicKey(options.WithContext(ctx)); err != nil {
		return nil, fmt.Errorf("key %s: %w", ref, err)
	}
	return sv, nil
}

// noModules is why PKCS #11 is not spoken.
const noModules = "a PKCS #11 module is a library in C, which a static program cannot load; a program sigstore-kms-NAME can, and is called by --key NAME://KEY"

// cloudServices are those of a build with the tag kms.
func cloudServices() []string {
	return []string{"awskms://", "azurekms://", "gcpkms://", "hashivault://", "openbao://"}
}

// KeyServices are the services whose keys this build can use itself, by the schemes of their addresses.
func KeyServices() []string { return slices.Sorted(slices.Values(kms.SupportedProviders())) }

// isSecret tells whether a pair is kept as secrets of a system.
func isSecret(ref string) bool {
	return strings.HasPrefix(ref, "k8s://") || strings.HasPrefix(ref, "gitlab://")
}

// Verifier finds a public key: a PEM file, env://NAME with its content, a secret,
// or a key elsewhere.
func (k Keys) Verifier(ctx context.Context, ref string) (signature.Verifier, error) {
	if sv, err := remoteKey(ctx, ref); sv != nil || err != nil {
		return sv, err
	}
	var b []byte
	var err error
	if isSecret(ref) {
		s, err := k.secret(ctx, ref, secretPublic)
		if err != nil {
			return nil, err
		}
		b = s[secretPublic]
	} else if b, err = k.read(ref); err != nil {
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
