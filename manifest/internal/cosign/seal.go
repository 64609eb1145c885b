package cosign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	cbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// seal signs content and has the services vouch for it. Both formats are made
// of what comes of it. Without stamps, no timestamp is asked for.
func (s *Signer) seal(ctx context.Context, content sign.Content, stamps bool) (*protobundle.Bundle, *certificate, error) {
	o := sign.BundleOptions{Context: ctx}
	key, cert := s.Key, (*certificate)(nil)
	if s.Certificates != nil {
		var err error
		if cert, err = s.Certificates.get(ctx); err != nil {
			return nil, nil, err
		}
		key, o.CertificateProvider = cert.key, cert
	}
	pair, err := newKeypair(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if o.TransparencyLogs, err = s.Services.logs(); err != nil {
		return nil, nil, err
	}
	if stamps {
		o.TimestampAuthorities = s.Services.stamps()
	}
	b, err := sign.Bundle(content, pair, o)
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	return b, cert, nil
}

// keypair is a key in the form that sigstore-go signs with.
type keypair struct {
	key     signature.SignerVerifier
	public  crypto.PublicKey
	der     []byte
	details signature.AlgorithmDetails
	known   bool // the details are
}

func newKeypair(ctx context.Context, key signature.SignerVerifier) (*keypair, error) {
	pub, err := key.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	k := &keypair{key: key, public: pub}
	if k.der, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	// Keys of unusual sizes have none; these matter to logs only.
	if d, err := signature.GetDefaultAlgorithmDetails(pub, *cosign.GetDefaultLoadOptions(nil)...); err == nil {
		k.details, k.known = d, true
	}
	return k, nil
}

func (k *keypair) hash() crypto.Hash {
	if k.known && k.details.GetHashType() != 0 {
		return k.details.GetHashType()
	}
	return crypto.SHA256
}

// GetHashAlgorithm implements sign.Keypair.
func (k *keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	if k.known {
		return k.details.GetProtoHashType()
	}
	return protocommon.HashAlgorithm_SHA2_256
}

// GetSigningAlgorithm implements sign.Keypair.
func (k *keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	if k.known {
		return k.details.GetSignatureAlgorithm()
	}
	return protocommon.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED
}

// GetHint is cosign's name for a key in a bundle.
func (k *keypair) GetHint() []byte { return []byte(hintOf(k.der)) }

// GetKeyAlgorithm implements sign.Keypair; only Fulcio asks, and not here.
func (k *keypair) GetKeyAlgorithm() string { return "" }

// GetPublicKey implements sign.Keypair.
func (k *keypair) GetPublicKey() crypto.PublicKey { return k.public }

// GetPublicKeyPem implements sign.Keypair.
func (k *keypair) GetPublicKeyPem() (string, error) {
	b, err := cryptoutils.MarshalPublicKeyToPEM(k.public)
	return string(b), err
}

// SignData implements sign.Keypair.
func (k *keypair) SignData(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	if sig, err = k.key.SignMessage(bytes.NewReader(data), options.WithContext(ctx)); err != nil {
		return nil, nil, err
	}
	h := k.hash().New()
	h.Write(data)
	return sig, h.Sum(nil), nil
}

// named tells which log an error is about.
type named struct {
	url string
	sign.Transparency
}

// GetTransparencyLogEntry implements sign.Transparency.
func (n named) GetTransparencyLogEntry(ctx context.Context, key []byte, b *protobundle.Bundle) error {
	if err := n.Transparency.GetTransparencyLogEntry(ctx, key, b); err != nil {
		return fmt.Errorf("log %s: %w", n.url, err)
	}
	return nil
}

// legacyAnnotations are what a legacy layer says beside its content.
func legacyAnnotations(b *protobundle.Bundle, cert *certificate, timestamp []byte) (map[string]string, error) {
	a := map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(b.GetMessageSignature().GetSignature())}
	if cert != nil {
		leaf, chain, err := cert.pem()
		if err != nil {
			return nil, err
		}
		a[static.CertificateAnnotationKey] = string(leaf)
		if len(chain) > 0 {
			a[static.ChainAnnotationKey] = string(chain)
		}
	}
	if all := b.GetVerificationMaterial().GetTlogEntries(); len(all) > 0 {
		text, err := legacyEntry(all[0])
		if err != nil {
			return nil, err
		}
		a[static.BundleAnnotationKey] = text
	}
	if all := b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps(); len(all) > 0 {
		timestamp = all[0].GetSignedTimestamp()
	}
	if timestamp != nil {
		text, err := json.Marshal(cbundle.TimestampToRFC3161Timestamp(timestamp))
		if err != nil {
			return nil, err
		}
		a[static.RFC3161TimestampAnnotationKey] = string(text)
	}
	return a, nil
}

// legacyEntry is a log's entry in the form of cosign 1 and 2, which have no proof but the log's promise.
func legacyEntry(e *protorekor.TransparencyLogEntry) (string, error) {
	promise := e.GetInclusionPromise().GetSignedEntryTimestamp()
	if len(promise) == 0 {
		return "", errors.New("the log promises nothing, so that its entry fits into bundles only")
	}
	text, err := json.Marshal(cbundle.RekorBundle{SignedEntryTimestamp: promise, Payload: cbundle.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(e.GetCanonicalizedBody()), IntegratedTime: e.GetIntegratedTime(),
		LogIndex: e.GetLogIndex(), LogID: hex.EncodeToString(e.GetLogId().GetKeyId()),
	}})
	return string(text), err
}
