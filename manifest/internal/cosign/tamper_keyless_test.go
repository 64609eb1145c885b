package cosign_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// part leads to an object inside a document.
func part(doc map[string]any, path ...string) map[string]any {
	for _, p := range path {
		switch v := doc[p].(type) {
		case map[string]any:
			doc = v
		case []any:
			doc = v[0].(map[string]any)
		}
	}
	return doc
}

// stranger is a certificate of the same Fulcio for the same identity, and another key.
func (k *keyless) stranger() []byte {
	k.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.Fatal(err)
	}
	cert, err := k.sigstore.Certify(key.Public(), map[string]any{"iss": "https://issuer.example", "sub": "https://ci.example/workflow"})
	if err != nil {
		k.Fatal(err)
	}
	return cert.Raw
}

// TestTamperedMaterial swaps or removes each thing that vouches for a signature in a bundle.
func TestTamperedMaterial(t *testing.T) {
	with := services{true, true}
	k := newKeyless(t, cosign.Bundle, with)
	doc, err := k.client.Document(t.Context(), k.server.Ref("app:1"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := doc.Referrers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// One is the signature, the other the attestation: each has what the other could be given.
	contents := map[string][]byte{}
	for _, d := range list {
		child, err := doc.Child(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		all, _ := k.layers(child)
		contents[d.Annotations["dev.sigstore.bundle.predicateType"]] = all[0]
	}
	const signature = "https://sigstore.dev/cosign/sign/v1"
	var other map[string]any
	if err := json.Unmarshal(contents[predicateType], &other); err != nil {
		t.Fatal(err)
	}
	stranger := base64.StdEncoding.EncodeToString(k.stranger())
	material := func(doc map[string]any) map[string]any { return part(doc, "verificationMaterial") }
	entry := func(doc map[string]any) map[string]any { return part(doc, "verificationMaterial", "tlogEntries") }
	changeText := func(m map[string]any, key string) {
		m[key] = flip(m[key].(string))
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		says   string
	}{
		"certificate, another": {func(d map[string]any) { material(d)["certificate"] = map[string]any{"rawBytes": stranger} }, "transparency log certificate does not match"},
		"certificate, none":    {func(d map[string]any) { delete(material(d), "certificate") }, "verification material"},
		"certificate, a key": {func(d map[string]any) {
			delete(material(d), "certificate")
			material(d)["publicKey"] = map[string]any{"hint": "x"}
		}, "has no certificate"},
		"certificate, changed": {func(d map[string]any) { changeText(part(d, "verificationMaterial", "certificate"), "rawBytes") }, "certificate"},
		"entry, of another":    {func(d map[string]any) { material(d)["tlogEntries"] = material(other)["tlogEntries"] }, "transparency log signature does not match"},
		"entry, none":          {func(d map[string]any) { delete(material(d), "tlogEntries") }, "no entry of a transparency log"},
		"entry, twice": {func(d map[string]any) {
			e := material(d)["tlogEntries"].([]any)
			material(d)["tlogEntries"] = append(e, e[0])
		}, "duplicate tlog entries"},
		"entry, body":  {func(d map[string]any) { entry(d)["canonicalizedBody"] = entry(other)["canonicalizedBody"] }, "log entry 1: unable to verify SET"},
		"entry, time":  {func(d map[string]any) { entry(d)["integratedTime"] = strconv.FormatInt(time.Now().Unix()-60, 10) }, "log entry 1: unable to verify SET"},
		"entry, index": {func(d map[string]any) { entry(d)["logIndex"] = "1" }, "log entry 1: unable to verify SET"},
		"entry, log": {func(d map[string]any) {
			part(entry(d), "logId")["keyId"] = base64.StdEncoding.EncodeToString(make([]byte, 32))
		}, "log public key not found"},
		"promise, changed": {func(d map[string]any) { changeText(part(entry(d), "inclusionPromise"), "signedEntryTimestamp") }, "log entry 1: unable to verify SET"},
		"proof, none":      {func(d map[string]any) { delete(entry(d), "inclusionProof"); delete(entry(d), "inclusionPromise") }, "inclusion proof missing"},
		"proof, hash": {func(d map[string]any) {
			h := part(entry(d), "inclusionProof")["hashes"].([]any)
			h[0] = flip(h[0].(string))
		}, "calculated root"},
		"proof, root": {func(d map[string]any) { changeText(part(entry(d), "inclusionProof"), "rootHash") }, "calculated root"},
		"proof, size": {func(d map[string]any) { part(entry(d), "inclusionProof")["treeSize"] = "999" }, "wrong proof size"},
		"proof, checkpoint": {func(d map[string]any) {
			part(entry(d), "inclusionProof")["checkpoint"] = part(entry(other), "inclusionProof")["checkpoint"]
		}, "does not match signed tree head"},
		"timestamp, of another": {func(d map[string]any) {
			material(d)["timestampVerificationData"] = material(other)["timestampVerificationData"]
		}, "hashed messages don't match"},
		"timestamp, none": {func(d map[string]any) { delete(material(d), "timestampVerificationData") }, "no signed timestamp"},
		"timestamp, changed": {func(d map[string]any) {
			changeText(part(material(d), "timestampVerificationData", "rfc3161Timestamps"), "signedTimestamp")
		}, "timestamp"},
		"material, none": {func(d map[string]any) { delete(d, "verificationMaterial") }, "verification material"},
		"signature, of another": {func(d map[string]any) {
			signatures(part(d, "dsseEnvelope"))[0] = signatures(part(other, "dsseEnvelope"))[0]
		}, "signature"},
		"statement, of another":   {func(d map[string]any) { part(d, "dsseEnvelope")["payload"] = part(other, "dsseEnvelope")["payload"] }, "is a statement of type"},
		"media type":              {func(d map[string]any) { d["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=9" }, "version"},
		"control: nothing at all": {func(map[string]any) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			to, s := client(t), registrytest.New(t)
			s.Push(t, "app:1", k.server.Image(t, "app:1"))
			attach(t, to, s, registry.Referrer{
				Type: bundleType, MediaType: bundleType, Subject: k.image, Content: edit(contents[signature], c.change),
				Annotations: map[string]string{"dev.sigstore.bundle.predicateType": signature},
			})
			v := &cosign.Verifier{Registry: to, Policy: k.policy(cosign.Bundle, with)}
			_, err := v.Signatures(t.Context(), s.Ref("app"), k.image.Digest)
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			verdict(t, err, c.says)
		})
	}
}

// TestTamperedAnnotations does the same to a legacy signature.
func TestTamperedAnnotations(t *testing.T) {
	with := services{true, true}
	k := newKeyless(t, cosign.Legacy, with)
	read := func(kind string) ([]byte, map[string]string) {
		doc, err := k.client.Document(t.Context(), k.server.Ref(sigTag(k.image.Digest, kind)))
		if err != nil {
			t.Fatal(err)
		}
		contents, annotations := k.layers(doc)
		return contents[0], annotations[0]
	}
	content, _ := read("sig")
	attested, other := read("att")
	stranger, err := cryptoutils.MarshalCertificateToPEM(parse(t, k.stranger()))
	if err != nil {
		t.Fatal(err)
	}
	const cert, entry, stamp = "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle", "dev.sigstore.cosign/rfc3161timestamp"
	inEntry := func(change func(map[string]any)) func(map[string]string) {
		return func(a map[string]string) { a[entry] = string(edit([]byte(a[entry]), change)) }
	}
	for name, c := range map[string]struct {
		change func(map[string]string)
		says   string
	}{
		"certificate, another":  {func(a map[string]string) { a[cert] = string(stranger) }, "comparing public key PEMs, expected (PEM)"},
		"certificate, none":     {func(a map[string]string) { delete(a, cert) }, "has no certificate"},
		"certificate, no PEM":   {func(a map[string]string) { a[cert] = "x" }, "certificate"},
		"entry, of another":     {func(a map[string]string) { a[entry] = other[entry] }, "signature in bundle does not match"},
		"entry, none":           {func(a map[string]string) { delete(a, entry) }, "no entry of a transparency log"},
		"entry, no JSON":        {func(a map[string]string) { a[entry] = "{" }, "read the log entry"},
		"entry, no body":        {inEntry(func(e map[string]any) { part(e, "Payload")["body"] = 1 }), "it has no body"},
		"entry, an empty body":  {inEntry(func(e map[string]any) { part(e, "Payload")["body"] = "e30=" }), "kind in body is required"},
		"entry, time":           {inEntry(func(e map[string]any) { part(e, "Payload")["integratedTime"] = time.Now().Unix() - 60 }), "unable to verify SET"},
		"entry, log":            {inEntry(func(e map[string]any) { part(e, "Payload")["logID"] = "00" }), "rekor log public key not found"},
		"promise, changed":      {inEntry(func(e map[string]any) { e["SignedEntryTimestamp"] = flip(e["SignedEntryTimestamp"].(string)) }), "unable to verify SET"},
		"promise, none":         {inEntry(func(e map[string]any) { delete(e, "SignedEntryTimestamp") }), "verifying bundle"},
		"timestamp, of another": {func(a map[string]string) { a[stamp] = other[stamp] }, "its signed timestamp does not verify"},
		"timestamp, none":       {func(a map[string]string) { delete(a, stamp) }, "no signed timestamp"},
		"timestamp, no JSON":    {func(a map[string]string) { a[stamp] = "{" }, "read the timestamp"},
		"timestamp, changed": {func(a map[string]string) {
			a[stamp] = string(edit([]byte(a[stamp]), func(s map[string]any) { s["SignedRFC3161Timestamp"] = flip(s["SignedRFC3161Timestamp"].(string)) }))
		}, "its signed timestamp does not verify"},
		"chain, no PEM":           {func(a map[string]string) { a["dev.sigstore.cosign/chain"] = "-----BEGIN X" }, "certificate"},
		"control: nothing at all": {func(map[string]string) {}, ""},
	} {
		t.Run("signature/"+name, func(t *testing.T) {
			v := &cosign.Verifier{Policy: k.policy(cosign.Legacy, with)}
			_, a := read("sig")
			c.change(a)
			s := k.beside(t, v, k.image.Digest, "sig", content, "application/vnd.dev.cosign.simplesigning.v1+json", a)
			_, err := v.Signatures(t.Context(), s.Ref("app"), k.image.Digest)
			if c.says == "" && err != nil {
				t.Error(err)
			} else if c.says != "" {
				verdict(t, err, c.says)
			}
		})
	}
	_, mine := read("sig")
	for name, c := range map[string]struct {
		change func(map[string]string)
		says   string
	}{
		"entry, of another":     {func(a map[string]string) { a[entry] = mine[entry] }, "matching bundle to payload"},
		"timestamp, of another": {func(a map[string]string) { a[stamp] = mine[stamp] }, "its signed timestamp does not verify"},
		"certificate, another":  {func(a map[string]string) { a[cert] = string(stranger) }, "comparing public key PEMs, expected (PEM)"},
		"certificate, none":     {func(a map[string]string) { delete(a, cert) }, "has no certificate"},
	} {
		t.Run("attestation/"+name, func(t *testing.T) {
			v := &cosign.Verifier{Policy: k.policy(cosign.Legacy, with)}
			_, a := read("att")
			c.change(a)
			s := k.beside(t, v, k.image.Digest, "att", attested, "application/vnd.dsse.envelope.v1+json", a)
			_, err := v.Attestations(t.Context(), s.Ref("app"), k.image.Digest, predicateType, nil)
			verdict(t, err, c.says)
		})
	}
}

// TestOtherIdentity: a valid signature by somebody else, or vouched for by others, does not count.
func TestOtherIdentity(t *testing.T) {
	with := services{true, true}
	k := newKeyless(t, cosign.Both, with)
	for name, c := range map[string]struct {
		change func(*cosign.Policy)
		says   string
	}{
		"subject":           {func(p *cosign.Policy) { p.Identity.Subject = "https://ci.example/other" }, "https://ci.example/other"},
		"subject's pattern": {func(p *cosign.Policy) { p.Identity.Subject, p.Identity.SubjectRegExp = "", "^https://other" }, "^https://other"},
		"issuer":            {func(p *cosign.Policy) { p.Identity.Issuer = "https://other.example" }, "https://other.example"},
		"issuer's pattern":  {func(p *cosign.Policy) { p.Identity.Issuer, p.Identity.IssuerRegExp = "", "^https://other" }, "^https://other"},
		"workflow":          {func(p *cosign.Policy) { p.GitHub.Ref = "refs/heads/main" }, "orkflow"},
		"annotation":        {func(p *cosign.Policy) { p.Annotations = map[string]string{"by": "you"} }, "annotation"},
		"root": {func(p *cosign.Policy) {
			p.TrustedRoot = newKeyless(t, cosign.Bundle, services{}).sigstore.TrustedRoot()
		}, "verif"},
		"patterns that fit": {func(p *cosign.Policy) {
			p.Identity = cosign.Identity{SubjectRegExp: "^https://ci", IssuerRegExp: "issuer"}
		}, ""},
	} {
		for _, f := range []cosign.Format{cosign.Legacy, cosign.Bundle} {
			t.Run(name+"/"+string(f), func(t *testing.T) {
				v := &cosign.Verifier{Registry: k.client, Policy: k.policy(f, with)}
				c.change(&v.Policy)
				_, err := v.Signatures(t.Context(), k.server.Ref("app"), k.image.Digest)
				if c.says == "" && err != nil {
					t.Error(err)
				} else if c.says != "" {
					verdict(t, err, c.says)
				}
			})
		}
	}
	// A certificate without the log's word does, where that is allowed.
	k.sigstore.NoSCT = true
	k.world.signer = k.signer(cosign.Both, with, map[string]any{"sub": "https://ci.example/quiet"})
	k.world.signer.TrustedRoot = nil
	k.signAll()
	for _, f := range []cosign.Format{cosign.Legacy, cosign.Bundle} {
		v := &cosign.Verifier{Registry: k.client, Policy: k.policy(f, with)}
		v.Policy.Identity.Subject = "https://ci.example/quiet"
		_, err := v.Signatures(t.Context(), k.server.Ref("app"), k.image.Digest)
		verdict(t, err, "ertificate")
		v.Policy.IgnoreSCT = true
		if _, err := v.Signatures(t.Context(), k.server.Ref("app"), k.image.Digest); err != nil {
			t.Error(err)
		}
	}
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verdict is refused, with the code for what is there and does not fit, or has no certificate.
func verdict(t *testing.T, err error, says string) {
	t.Helper()
	switch {
	case err == nil:
		t.Error("it is taken")
	case cosign.ExitCode(err) < 10:
		t.Errorf("it is no verdict: %v", err)
	case !strings.Contains(err.Error(), says):
		t.Errorf("it does not say %q: %v", says, err)
	default:
		t.Log(err)
	}
}
