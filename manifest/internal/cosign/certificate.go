package cosign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	fulcio "github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/oauthflow"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Certificates gets short-lived certificates from a Fulcio, for keys that
// nobody keeps. One is used for all that is signed while it is good; it may be
// asked from several goroutines.
type Certificates struct {
	URL   string
	Token func(context.Context) (string, error)
	Now   func() time.Time

	mu      sync.Mutex
	current *certificate
}

// certificate vouches that a key belongs to an identity.
type certificate struct {
	key   signature.SignerVerifier
	leaf  *x509.Certificate
	chain []*x509.Certificate // above the leaf
}

// Identity is whom the certificate of now names, and who vouched for that.
func (c *Certificates) Identity(ctx context.Context) (Identity, time.Time, error) {
	cert, err := c.get(ctx)
	if err != nil {
		return Identity{}, time.Time{}, err
	}
	id, err := cert.identity()
	return id, cert.leaf.NotAfter, err
}

func (c *certificate) identity() (Identity, error) {
	s, err := fulcio.SummarizeCertificate(c.leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("read the certificate: %w", err)
	}
	return Identity{Subject: s.SubjectAlternativeName, Issuer: s.Issuer}, nil
}

// get gives a certificate that is good for a while: what is signed with it may
// have to wait for a log and a timestamp.
func (c *Certificates) get(ctx context.Context) (*certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		life := c.current.leaf.NotAfter.Sub(c.current.leaf.NotBefore)
		if c.current.leaf.NotAfter.Sub(c.Now()) > life/3 {
			return c.current, nil
		}
	}
	cert, err := c.request(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a certificate of %s: %w", c.URL, err)
	}
	c.current = cert
	return cert, nil
}

func (c *Certificates) request(ctx context.Context) (*certificate, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := signature.LoadECDSASignerVerifier(private, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	body, err := certificateRequest(ctx, key, token)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.URL, "/")+"/api/v2/signingCert", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	type answer struct {
		Chain struct {
			Certificates []string `json:"certificates"`
		} `json:"chain"`
	}
	var got struct {
		Embedded answer `json:"signedCertificateEmbeddedSct"`
		Detached answer `json:"signedCertificateDetachedSct"`
	}
	if err := ask(req, &got); err != nil {
		return nil, err
	}
	all, err := cryptoutils.UnmarshalCertificatesFromPEM([]byte(strings.Join(append(got.Embedded.Chain.Certificates, got.Detached.Chain.Certificates...), "\n")))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read its answer: %w", err)
	case len(all) == 0:
		return nil, errors.New("its answer has none")
	case !private.PublicKey.Equal(all[0].PublicKey):
		return nil, errors.New("it is for another key than the one that was shown")
	}
	return &certificate{key, all[0], all[1:]}, nil
}

// certificateRequest proves that we have the key, by signing the token's subject.
func certificateRequest(ctx context.Context, key signature.SignerVerifier, token string) ([]byte, error) {
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, errors.New("the identity token is no JSON web token")
	}
	subject, err := oauthflow.SubjectFromUnverifiedToken(claims)
	if err != nil {
		return nil, fmt.Errorf("the identity token names nobody: %w", err)
	}
	proof, err := key.SignMessage(strings.NewReader(subject), options.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(pub)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"publicKeyRequest": map[string]any{
		"publicKey":         map[string]string{"algorithm": "ECDSA", "content": string(pem)},
		"proofOfPossession": base64.StdEncoding.EncodeToString(proof),
	}})
}

// GetCertificate gives sigstore-go the certificate that is there.
func (c *certificate) GetCertificate(context.Context, sign.Keypair, *sign.CertificateProviderOptions) ([]byte, error) {
	return c.leaf.Raw, nil
}

// pem is the certificate, and what is above it, as legacy signatures carry them.
func (c *certificate) pem() (leaf, chain []byte, err error) {
	if leaf, err = cryptoutils.MarshalCertificateToPEM(c.leaf); err != nil {
		return nil, nil, err
	}
	chain, err = cryptoutils.MarshalCertificatesToPEM(c.chain)
	return leaf, chain, err
}
