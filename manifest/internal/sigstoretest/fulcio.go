package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// certify answers as Fulcio does: to a token that the issuer gave, and to who proves to have the key.
func (s *Sigstore) certify(w http.ResponseWriter, req *http.Request) {
	chain, err := s.certificate(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var all []string
	for _, c := range chain {
		pem, err := cryptoutils.MarshalCertificateToPEM(c)
		s.must(err)
		all = append(all, string(pem))
	}
	s.answer(w, http.StatusOK, map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": all}}})
}

func (s *Sigstore) certificate(req *http.Request) ([]*x509.Certificate, error) {
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	known := s.tokens[token]
	s.mu.Unlock()
	if !known {
		return nil, errors.New("the token is from nobody we know")
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		return nil, err
	}
	if claims["aud"] != Audience {
		return nil, errors.New("the token is for somebody else")
	}
	var body struct {
		Request struct {
			Key struct {
				Content string `json:"content"`
			} `json:"publicKey"`
			Proof []byte `json:"proofOfPossession"`
		} `json:"publicKeyRequest"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(body.Request.Key.Content))
	if err != nil {
		return nil, err
	}
	subject, _ := claims["sub"].(string)
	if email, ok := claims["email"].(string); ok {
		subject = email
	}
	digest := sha256.Sum256([]byte(subject))
	if k, ok := pub.(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(k, digest[:], body.Request.Proof) {
		return nil, errors.New("who asks has not the key")
	}
	leaf, err := s.Certify(pub, claims)
	return append([]*x509.Certificate{leaf}, append(s.fulcio.Intermediates, s.fulcio.Root)...), err
}

// The extensions of Fulcio's certificates.
const (
	extensionIssuer  = 1
	extensionTrigger = 2 // and those of the workflow after it
	extensionIssuer2 = 8
)

func extension(n int, value []byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: value}
}

// Certify makes a certificate for whom the claims name.
func (s *Sigstore) Certify(pub crypto.PublicKey, claims map[string]any) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	issuer, _ := claims["iss"].(string)
	utf8, err := asn1.MarshalWithParams(issuer, "utf8")
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(s.Life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{extension(extensionIssuer, []byte(issuer)), extension(extensionIssuer2, utf8)},
	}
	if email, ok := claims["email"].(string); ok {
		t.EmailAddresses = []string{email}
	} else {
		sub, _ := claims["sub"].(string)
		u, err := url.Parse(sub)
		if err != nil {
			return nil, err
		}
		t.URIs = []*url.URL{u}
	}
	for i, claim := range []string{"event_name", "sha", "workflow", "repository", "ref"} {
		if v, ok := claims[claim].(string); ok {
			t.ExtraExtensions = append(t.ExtraExtensions, extension(extensionTrigger+i, []byte(v)))
		}
	}
	issue := func() (*x509.Certificate, error) {
		der, err := x509.CreateCertificate(rand.Reader, t, s.fulcio.Intermediates[0], pub, s.issuer)
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificate(der)
	}
	cert, err := issue()
	if err != nil || s.NoSCT {
		return cert, err
	}
	promise, err := s.sct(cert)
	if err != nil {
		return nil, err
	}
	t.ExtraExtensions = append(t.ExtraExtensions, promise)
	return issue()
}

// sct is the certificate log's promise to list a certificate, as an extension of it (RFC 6962, 3.3).
func (s *Sigstore) sct(cert *x509.Certificate) (e pkix.Extension, err error) {
	promise := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, Timestamp: uint64(time.Now().UnixMilli())}
	copy(promise.LogID.KeyID[:], s.logID(s.ctlog))
	input, err := ct.SerializeSCTSignatureInput(promise, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType, TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: promise.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(s.fulcio.Intermediates[0].RawSubjectPublicKeyInfo), TBSCertificate: cert.RawTBSCertificate},
		},
	}})
	if err != nil {
		return e, err
	}
	digest := sha256.Sum256(input)
	sig, err := ecdsa.SignASN1(rand.Reader, s.ctlog, digest[:])
	if err != nil {
		return e, err
	}
	promise.Signature = ct.DigitallySigned{Algorithm: tls.SignatureAndHashAlgorithm{Hash: tls.SHA256, Signature: tls.ECDSA}, Signature: sig}
	one, err := tls.Marshal(promise)
	if err != nil {
		return e, err
	}
	list, err := tls.Marshal(ctx509.SignedCertificateTimestampList{SCTList: []ctx509.SerializedSCT{{Val: one}}})
	if err != nil {
		return e, err
	}
	e = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}}
	e.Value, err = asn1.Marshal(list)
	return e, err
}
