package cache

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Keys sign entries and verify them. With them, the right to write to a cache is
// not yet the right to say what a step gives. The zero value does neither.
type Keys struct {
	// Sign, where set, signs what is put.
	Sign *SigningKey
	// Verify, where there are any, are the keys of which one must have signed
	// what is got.
	Verify []*VerifyingKey
}

// SigningKey is a private key: ECDSA or Ed25519.
type SigningKey struct{ key crypto.Signer }

// VerifyingKey is a public key: ECDSA or Ed25519.
type VerifyingKey struct{ key crypto.PublicKey }

// signed is what a signature is over: nothing else that the key signs looks like it.
func signed(raw []byte) []byte { return append([]byte("strake cache entry\x00"), raw...) }

// ParseSigningKey reads a private key in PEM: PKCS #8 ("PRIVATE KEY") or SEC 1
// ("EC PRIVATE KEY"), not encrypted.
func ParseSigningKey(data []byte) (*SigningKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block in it")
	}
	if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return nil, fmt.Errorf("the key is encrypted (%s); decrypt it with openssl pkey, or cosign, and mount it as a secret", block.Type)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it is a %s, not a private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		return &SigningKey{k}, nil
	case ed25519.PrivateKey:
		return &SigningKey{k}, nil
	}
	return nil, fmt.Errorf("keys of the kind %T are not taken; use ECDSA or Ed25519", key)
}

// ParseVerifyingKey reads a public key in PEM ("PUBLIC KEY").
func ParseVerifyingKey(data []byte) (*VerifyingKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New(`no PEM block "PUBLIC KEY" in it`)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return &VerifyingKey{key}, nil
	}
	return nil, fmt.Errorf("keys of the kind %T are not taken; use ECDSA or Ed25519", key)
}

// sign is the signature as it stands in an annotation, or "" without a key.
func (k Keys) sign(raw []byte) (string, error) {
	if k.Sign == nil {
		return "", nil
	}
	msg, hash := signed(raw), crypto.Hash(0)
	if _, ok := k.Sign.key.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(msg)
		msg, hash = sum[:], crypto.SHA256
	}
	sig, err := k.Sign.key.Sign(rand.Reader, msg, hash)
	if err != nil {
		return "", fmt.Errorf("sign cache entry: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// verify checks a signature when there are keys to check it with.
func (k Keys) verify(raw []byte, signature string) error {
	if len(k.Verify) == 0 {
		return nil
	}
	if signature == "" {
		return fmt.Errorf("%w: nobody signed it", ErrDamaged)
	}
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("%w: signature: %w", ErrDamaged, err)
	}
	for _, v := range k.Verify {
		if v.verifies(signed(raw), sig) {
			return nil
		}
	}
	return fmt.Errorf("%w: none of the given keys signed it", ErrDamaged)
}

func (v *VerifyingKey) verifies(msg, sig []byte) bool {
	switch key := v.key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(key, msg, sig)
	}
	return false
}

// Public is the other half of a signing key, in PEM.
func (s *SigningKey) Public() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return b.Bytes(), err
}
