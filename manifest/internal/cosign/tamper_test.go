package cosign_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

const (
	predicateType = "https://example.com/predicate"
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// world is a registry with a signed and attested image, and what was signed.
type world struct {
	testing.TB
	server *registrytest.Server
	client *registry.Client
	signer *cosign.Signer
	image  v1.Descriptor
	other  v1.Descriptor // an image that nobody signed
}

func client(t testing.TB) *registry.Client {
	t.Helper()
	c, err := registry.New(registry.Options{Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func signer(t testing.TB, c *registry.Client, f cosign.Format) *cosign.Signer {
	t.Helper()
	var private []byte
	keys := cosign.Keys{
		Password: func(bool) ([]byte, error) { return []byte("secret"), nil },
		Lookup:   func(string) (string, bool) { return string(private), true },
	}
	pair, err := keys.Generate()
	if err != nil {
		t.Fatal(err)
	}
	private = pair.Private
	key, err := keys.Signer(t.Context(), "env://KEY")
	if err != nil {
		t.Fatal(err)
	}
	return &cosign.Signer{Registry: c, Key: key, Format: f, Annotations: map[string]string{"by": "me"}, Now: time.Now}
}

func signed(t testing.TB, f cosign.Format) *world {
	t.Helper()
	w := &world{TB: t, server: registrytest.New(t), client: client(t)}
	w.signer = signer(t, w.client, f)
	w.images()
	w.signAll()
	return w
}

// images pushes the images that the tests are about.
func (w *world) images() {
	w.Helper()
	for i, d := range []*v1.Descriptor{&w.image, &w.other} {
		tag := string(rune('1' + i))
		w.server.Push(w, "app:"+tag, registrytest.Image(w, "linux/amd64"))
		doc, err := w.client.Document(w.Context(), w.server.Ref("app:"+tag))
		if err != nil {
			w.Fatal(err)
		}
		*d = doc.Descriptor
	}
}

// signAll signs and attests the first.
func (w *world) signAll() {
	w.Helper()
	if err := w.signer.Sign(w.Context(), w.server.Ref("app"), w.image); err != nil {
		w.Fatal(err)
	}
	if err := w.signer.Attest(w.Context(), w.server.Ref("app"), w.image, predicateType, []byte(`{"n": 1}`)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) verifier(f cosign.Format) *cosign.Verifier {
	return &cosign.Verifier{Registry: w.client, Policy: cosign.Policy{Key: w.signer.Key, Format: f, IgnoreLog: true, Annotations: w.signer.Annotations}}
}

// layers reads an artifact, as contents and annotations.
func (w *world) layers(doc *registry.Document) (contents [][]byte, annotations []map[string]string) {
	w.Helper()
	for _, l := range doc.Image.Layers {
		b, err := doc.Small(context.Background(), l, 1<<20)
		if err != nil {
			w.Fatal(err)
		}
		contents, annotations = append(contents, b), append(annotations, l.Annotations)
	}
	return contents, annotations
}

func sigTag(d v1.Hash, kind string) string { return "app:sha256-" + d.Hex + "." + kind }

// envelope changes a DSSE envelope, wherever it stands in a document.
func envelope(change func(env map[string]any)) func(doc map[string]any) {
	return func(doc map[string]any) {
		if inner, ok := doc["dsseEnvelope"].(map[string]any); ok {
			doc = inner
		}
		change(doc)
	}
}

// payload changes the JSON that an envelope has signed.
func payload(change func(st map[string]any)) func(doc map[string]any) {
	return envelope(func(env map[string]any) {
		raw, _ := base64.StdEncoding.DecodeString(env["payload"].(string))
		env["payload"] = base64.StdEncoding.EncodeToString(edit(raw, change))
	})
}

func edit(raw []byte, change func(map[string]any)) []byte {
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		panic(err)
	}
	change(doc)
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return b
}

func flip(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) < 10 {
		panic("no signature")
	}
	b[len(b)-3] ^= 1
	return base64.StdEncoding.EncodeToString(b)
}

func signatures(env map[string]any) []any { return env["signatures"].([]any) }

func firstSubject(st map[string]any) map[string]any {
	return st["subject"].([]any)[0].(map[string]any)
}

// aChange is one that is made to a signed statement, and what is said of it; legacy is for where that is another thing.
type aChange struct {
	change       func(map[string]any)
	says, legacy string
}

// changes are what can be done to a signed statement.
func changes(other v1.Hash) map[string]aChange {
	const changed, changedLegacy = "it was changed after this key has signed it", "another key has signed it, or it was changed afterwards"
	return map[string]aChange{
		"signature": {envelope(func(e map[string]any) {
			s := signatures(e)[0].(map[string]any)
			s["sig"] = flip(s["sig"].(string))
		}), changed, changedLegacy},
		"no signature":    {envelope(func(e map[string]any) { e["signatures"] = []any{} }), "has 0 signatures, not one", ""},
		"two signatures":  {envelope(func(e map[string]any) { e["signatures"] = append(signatures(e), signatures(e)[0]) }), "has 2 signatures, not one", ""},
		"payload type":    {envelope(func(e map[string]any) { e["payloadType"] = "text/plain" }), `"text/plain"`, ""},
		"no payload":      {envelope(func(e map[string]any) { delete(e, "payload") }), `is a statement of type ""`, "read the statement: unexpected end"},
		"subject":         {payload(func(s map[string]any) { firstSubject(s)["digest"] = map[string]any{"sha256": other.Hex} }), "the statement is about " + other.String() + ", not about ", ""},
		"no subject":      {payload(func(s map[string]any) { s["subject"] = []any{} }), "the statement is about nothing", ""},
		"predicate type":  {payload(func(s map[string]any) { s["predicateType"] = "https://example.com/other" }), "https://example.com/other", changedLegacy},
		"predicate":       {payload(func(s map[string]any) { s["predicate"] = map[string]any{"n": 2} }), changed, changedLegacy},
		"annotation":      {payload(func(s map[string]any) { firstSubject(s)["annotations"] = map[string]any{"by": "you"} }), changed, ""},
		"statement's own": {payload(func(s map[string]any) { s["_type"] = "https://example.com/none" }), `it is a "https://example.com/none"`, ""},
	}
}

// refused wants a verification to fail, for good, and with the right words.
func refused(t *testing.T, err error, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("it is taken")
	}
	if !errors.Is(err, cosign.ErrNoMatch) && !errors.Is(err, cosign.ErrNoSignature) {
		t.Errorf("it is no verdict: %v", err)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("it does not say %q: %v", says, err)
	}
}

// TestTamperedBundle changes the bundles of a signature and of an attestation.
// All are put beside the image as anybody who may push there could do.
func TestTamperedBundle(t *testing.T) {
	w := signed(t, cosign.Bundle)
	doc, err := w.client.Document(t.Context(), w.server.Ref("app:1"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := doc.Referrers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		about := d.Annotations["dev.sigstore.bundle.predicateType"]
		child, err := doc.Child(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		contents, _ := w.layers(child)
		for name, c := range changes(w.other.Digest) {
			t.Run(about+"/"+name, func(t *testing.T) {
				if name == "annotation" && about == predicateType {
					t.Skip("attestations have none")
				}
				to := client(t)
				s := registrytest.New(t)
				s.Push(t, "app:1", w.server.Image(t, "app:1"))
				attach(t, to, s, registry.Referrer{
					Type: bundleType, MediaType: bundleType, Subject: w.image, Annotations: d.Annotations, Content: edit(contents[0], c.change),
				})
				v := w.verifier(cosign.Bundle)
				v.Registry = to
				if about == predicateType {
					_, err := v.Attestations(t.Context(), s.Ref("app"), w.image.Digest, predicateType, nil)
					refused(t, err, c.says)
					return
				}
				_, err := v.Signatures(t.Context(), s.Ref("app"), w.image.Digest)
				refused(t, err, c.says)
			})
		}
		t.Run(about+"/moved to another image", func(t *testing.T) {
			attach(t, w.client, w.server, registry.Referrer{
				Type: bundleType, MediaType: bundleType, Subject: w.other, Annotations: d.Annotations, Content: contents[0],
			})
			v := w.verifier(cosign.Bundle)
			if about == predicateType {
				_, err := v.Attestations(t.Context(), w.server.Ref("app"), w.other.Digest, predicateType, nil)
				refused(t, err, "not about "+w.other.Digest.String())
				return
			}
			_, err := v.Signatures(t.Context(), w.server.Ref("app"), w.other.Digest)
			refused(t, err, "not about "+w.other.Digest.String())
		})
	}
}

func attach(t testing.TB, c *registry.Client, s *registrytest.Server, a registry.Referrer) {
	t.Helper()
	img, err := a.Image()
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Pusher(s.Ref("app"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Attach(t.Context(), img); err != nil {
		t.Fatal(err)
	}
}

// TestTamperedLegacy changes what is under cosign's tags.
func TestTamperedLegacy(t *testing.T) {
	w := signed(t, cosign.Legacy)
	read := func(kind string) ([]byte, map[string]string) {
		doc, err := w.client.Document(t.Context(), w.server.Ref(sigTag(w.image.Digest, kind)))
		if err != nil {
			t.Fatal(err)
		}
		contents, annotations := w.layers(doc)
		return contents[0], annotations[0]
	}
	const sig = "dev.cosignproject.cosign/signature"
	simple := "application/vnd.dev.cosign.simplesigning.v1+json"
	content, annotations := read("sig")
	critical := func(change func(map[string]any)) func([]byte) []byte {
		return func(b []byte) []byte {
			return edit(b, func(doc map[string]any) { change(doc["critical"].(map[string]any)) })
		}
	}
	same := func(b []byte) []byte { return b }
	for name, c := range map[string]struct {
		content   func([]byte) []byte
		signature string
		mediaType string
		at        v1.Hash
		says      string
	}{
		"digest":       {critical(func(c map[string]any) { c["image"] = map[string]any{"docker-manifest-digest": w.other.Digest.String()} }), annotations[sig], simple, w.image.Digest, "its payload is about " + w.other.Digest.String()},
		"type":         {critical(func(c map[string]any) { c["type"] = "something" }), annotations[sig], simple, w.image.Digest, `its payload is a "something"`},
		"annotation":   {func(b []byte) []byte { return bytes.Replace(b, []byte(`"me"`), []byte(`"us"`), 1) }, annotations[sig], simple, w.image.Digest, "it was changed afterwards"},
		"signature":    {same, flip(annotations[sig]), simple, w.image.Digest, "another key has signed it, or"},
		"no signature": {same, "", simple, w.image.Digest, "and no signature of it"},
		"media type":   {same, annotations[sig], "text/plain", w.image.Digest, "its media type is text/plain"},
		"no JSON":      {func([]byte) []byte { return []byte("{") }, annotations[sig], simple, w.image.Digest, "its payload is no JSON"},
		"moved":        {same, annotations[sig], simple, w.other.Digest, "not about " + w.other.Digest.String()},
	} {
		t.Run("signature/"+name, func(t *testing.T) {
			v := w.verifier(cosign.Legacy)
			s := w.beside(t, v, c.at, "sig", c.content(content), c.mediaType, map[string]string{sig: c.signature})
			_, err := v.Signatures(t.Context(), s.Ref("app"), c.at)
			refused(t, err, c.says)
		})
	}
	att, annotations := read("att")
	for name, c := range changes(w.other.Digest) {
		if name == "annotation" {
			continue // attestations have none
		}
		t.Run("attestation/"+name, func(t *testing.T) {
			v := w.verifier(cosign.Legacy)
			s := w.beside(t, v, w.image.Digest, "att", edit(att, c.change), "application/vnd.dsse.envelope.v1+json", annotations)
			_, err := v.Attestations(t.Context(), s.Ref("app"), w.image.Digest, predicateType, nil)
			refused(t, err, cmp.Or(c.legacy, c.says))
		})
	}
}

// beside makes a registry that has this beside an image.
func (w *world) beside(t *testing.T, v *cosign.Verifier, at v1.Hash, kind string, content []byte, mediaType string, annotations map[string]string) *registrytest.Server {
	t.Helper()
	s := registrytest.New(t)
	v.Registry = client(t)
	p, err := v.Registry.Pusher(s.Ref(sigTag(at, kind)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AppendLayers(t.Context(), registry.AnnotatedLayer{Layer: static.NewLayer(content, types.MediaType(mediaType)), Annotations: maps.Clone(annotations)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOtherKey: a valid signature by another key does not count.
func TestOtherKey(t *testing.T) {
	w := signed(t, cosign.Both)
	v := w.verifier(cosign.Both)
	v.Policy.Key = signer(t, w.client, cosign.Both).Key
	for f, says := range map[cosign.Format]string{cosign.Legacy: "another key has signed it, or it was changed", cosign.Bundle: "another key has signed it: "} {
		v.Policy.Format = f
		_, err := v.Signatures(t.Context(), w.server.Ref("app"), w.image.Digest)
		refused(t, err, says)
	}
}

// TestUnknownIsNotUnsigned: what could not be read is no verdict.
func TestUnknownIsNotUnsigned(t *testing.T) {
	w := signed(t, cosign.Both)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError} {
		w.server.Fail(registrytest.Fault{Path: "/manifests/sha256-", Status: status})
		w.server.Fail(registrytest.Fault{Path: "/referrers/", Status: status})
		_, err := w.verifier(cosign.Both).Signatures(t.Context(), w.server.Ref("app"), w.image.Digest)
		if err == nil || cosign.ExitCode(err) != 0 {
			t.Errorf("%d: %v", status, err)
		}
		err = w.signer.Sign(t.Context(), w.server.Ref("app"), w.image)
		if err == nil {
			t.Errorf("%d: it is signed again", status)
		}
		w.server.Heal()
	}
	// One that can be read and is valid is enough.
	w.server.Fail(registrytest.Fault{Path: "/referrers/", Status: http.StatusInternalServerError})
	if _, err := w.verifier(cosign.Both).Signatures(t.Context(), w.server.Ref("app"), w.image.Digest); err != nil {
		t.Error(err)
	}
}

// TestSignAtOnce: of several who sign the same image at the same time, nobody's
// signature is lost, in either format, without the referrers API.
func TestSignAtOnce(t *testing.T) {
	s := registrytest.New(t)
	s.Fail(registrytest.Fault{Path: "/referrers/", Status: http.StatusNotFound})
	s.Push(t, "app:1", registrytest.Image(t, "linux/amd64"))
	doc, err := client(t).Document(t.Context(), s.Ref("app:1"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 4
	signers := make([]*cosign.Signer, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		signers[i] = signer(t, client(t), cosign.Both)
	}
	for i := range n {
		wg.Go(func() { errs[i] = signers[i].Sign(context.Background(), s.Ref("app"), doc.Descriptor) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i, one := range signers {
		for _, f := range []cosign.Format{cosign.Legacy, cosign.Bundle} {
			v := &cosign.Verifier{Registry: client(t), Policy: cosign.Policy{Key: one.Key, Format: f, IgnoreLog: true}}
			if err := v.Verify(t.Context(), s.Ref("app"), doc.Descriptor.Digest); err != nil {
				t.Errorf("signer %d, %s: %v", i, f, err)
			}
		}
	}
}
