package cosign_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/manifest/internal/cosign"
	"github.com/strake-build/strake/manifest/internal/sigstoretest"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// keyless is a world whose image is signed without a key.
type keyless struct {
	*world
	sigstore *sigstoretest.Sigstore
}

// services are which of them take part.
type services struct{ log, stamp bool }

func (k *keyless) signer(f cosign.Format, with services, claims map[string]any) *cosign.Signer {
	s := &cosign.Signer{Registry: k.client, Format: f, Annotations: map[string]string{"by": "me"}, Now: time.Now, TrustedRoot: k.sigstore.TrustedRoot()}
	s.Certificates = &cosign.Certificates{
		URL: k.sigstore.URL, Now: time.Now,
		Token: func(context.Context) (string, error) { return k.sigstore.Token(claims), nil },
	}
	s.Services = k.services(with)
	return s
}

func (k *keyless) services(with services) (s cosign.Services) {
	if with.log {
		s.Logs = []cosign.Log{{URL: k.sigstore.URL, Version: 1}}
	}
	if with.stamp {
		s.Timestamps = []string{k.sigstore.Timestamps()}
	}
	return s
}

// policy is what the usual signature meets.
func (k *keyless) policy(f cosign.Format, with services) cosign.Policy {
	return cosign.Policy{
		TrustedRoot: k.sigstore.TrustedRoot(), Format: f, IgnoreLog: !with.log, Timestamps: with.stamp, Annotations: map[string]string{"by": "me"},
		Identity: cosign.Identity{Subject: "https://ci.example/workflow", Issuer: "https://issuer.example"},
	}
}

// newKeyless makes a world whose image is signed and attested so.
func newKeyless(t testing.TB, f cosign.Format, with services) *keyless {
	t.Helper()
	k := &keyless{&world{TB: t, server: registrytest.New(t), client: client(t)}, sigstoretest.New(t)}
	k.images()
	k.world.signer = k.signer(f, with, nil)
	k.signAll()
	return k
}

// TestKeyless signs and attests with certificates, with every choice of services, in both formats.
func TestKeyless(t *testing.T) {
	for name, with := range map[string]services{"none": {}, "log": {log: true}, "timestamp": {stamp: true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			k := newKeyless(t, cosign.Both, with)
			if n := k.sigstore.Asked(sigstoretest.FulcioPath); n != 1 {
				t.Errorf("%d certificates", n)
			}
			for _, f := range []cosign.Format{cosign.Legacy, cosign.Bundle} {
				v := &cosign.Verifier{Registry: k.client, Policy: k.policy(f, with)}
				if _, err := v.Signatures(t.Context(), k.server.Ref("app"), k.image.Digest); err != nil {
					t.Errorf("%s: %v", f, err)
				}
				if _, err := v.Attestations(t.Context(), k.server.Ref("app"), k.image.Digest, predicateType, nil); err != nil {
					t.Errorf("%s attestation: %v", f, err)
				}
			}
			// The same identity, later and elsewhere, has another certificate, and finds that it has signed.
			before := k.server.Count(http.MethodPut, "")
			k.world.signer = k.signer(cosign.Both, with, nil)
			k.signAll()
			if after := k.server.Count(http.MethodPut, ""); after != before {
				t.Errorf("%d manifests and blobs written again", after-before)
			}
			// Another identity has not.
			k.world.signer = k.signer(cosign.Both, with, map[string]any{"sub": "https://ci.example/other"})
			k.signAll()
			if after := k.server.Count(http.MethodPut, ""); after == before {
				t.Error("another identity has not signed")
			}
		})
	}
}

// TestKeyWithServices: a local key, too, can be vouched for.
func TestKeyWithServices(t *testing.T) {
	k := newKeyless(t, cosign.Both, services{})
	s := signer(t, k.client, cosign.Both)
	s.Services, s.TrustedRoot = k.services(services{true, true}), k.sigstore.TrustedRoot()
	k.world.signer = s
	k.signAll()
	for _, f := range []cosign.Format{cosign.Legacy, cosign.Bundle} {
		v := &cosign.Verifier{Registry: k.client, Policy: cosign.Policy{Key: s.Key, TrustedRoot: k.sigstore.TrustedRoot(), Timestamps: true, Format: f}}
		if _, err := v.Signatures(t.Context(), k.server.Ref("app"), k.image.Digest); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if _, err := v.Attestations(t.Context(), k.server.Ref("app"), k.image.Digest, predicateType, nil); err != nil {
			t.Errorf("%s attestation: %v", f, err)
		}
	}
}

// TestServicesFail: what does not answer is named, and nothing is written.
func TestServicesFail(t *testing.T) {
	k := newKeyless(t, cosign.Both, services{})
	for path, says := range map[string]string{
		sigstoretest.FulcioPath: "get a certificate of", sigstoretest.RekorPath: "log ", sigstoretest.TimestampPath: "403",
	} {
		k.sigstore.Fail(path, http.StatusForbidden)
		s := k.signer(cosign.Both, services{true, true}, nil)
		before := k.server.Count(http.MethodPut, "")
		err := s.Sign(t.Context(), k.server.Ref("app"), k.other)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "403") || cosign.ExitCode(err) != 0 {
			t.Errorf("%s: %v", path, err)
		}
		if after := k.server.Count(http.MethodPut, ""); after != before {
			t.Errorf("%s: something was written", path)
		}
		k.sigstore.Fail(path, 0)
	}
	// Services that the trusted root does not know are noticed before anything is written, too.
	s := k.signer(cosign.Both, services{true, true}, nil)
	s.TrustedRoot = sigstoretest.New(t).TrustedRoot()
	if err := s.Sign(t.Context(), k.server.Ref("app"), k.other); err == nil || !strings.Contains(err.Error(), "is not written") {
		t.Errorf("other services: %v", err)
	}
}

// TestCertificatesEnd: a certificate that is about to end is not used.
func TestCertificatesEnd(t *testing.T) {
	k := newKeyless(t, cosign.Both, services{true, true})
	now := time.Now()
	s := k.signer(cosign.Both, services{true, true}, nil)
	s.Certificates.Now = func() time.Time { return now }
	for i, after := range []time.Duration{0, 5 * time.Minute, 3 * time.Minute} {
		now = now.Add(after)
		if _, _, err := s.Certificates.Identity(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, want := k.sigstore.Asked(sigstoretest.FulcioPath), []int{2, 2, 3}[i]; n != want {
			t.Errorf("after %s: %d certificates, want %d", after, n, want)
		}
	}
}

// TestTokens finds the token in every place, in the right order.
func TestTokens(t *testing.T) {
	s := sigstoretest.New(t)
	file := filepath.Join(t.TempDir(), "token")
	mounted, given := s.Token(map[string]any{"sub": "https://file.example"}), s.Token(nil)
	if err := os.WriteFile(file, []byte(mounted+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	github := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": s.URL + "/github?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request-token"}
	buildkite := map[string]string{"BUILDKITE_AGENT_ACCESS_TOKEN": "agent-token", "BUILDKITE_JOB_ID": "job-1", "BUILDKITE_AGENT_ENDPOINT": s.URL}
	old := s.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	for name, c := range map[string]struct {
		given, provider, file string
		env                   map[string]string
		who, says             string
	}{
		"variable":           {env: map[string]string{"SIGSTORE_ID_TOKEN": given}, who: "https://ci.example/workflow"},
		"GitHub":             {env: github, who: "https://github.example/workflow"},
		"Buildkite":          {env: buildkite, who: "https://buildkite.example/job-1"},
		"file":               {file: file, who: "https://file.example"},
		"given":              {given: given, env: github, who: "https://ci.example/workflow"},
		"given as a file":    {given: file, env: github, who: "https://file.example"},
		"one provider":       {provider: "filesystem", file: file, env: github, who: "https://file.example"},
		"none":               {says: "SIGSTORE_ID_TOKEN is not set"},
		"none there":         {provider: "buildkite-agent", env: github, says: "buildkite-agent offers none"},
		"no token":           {given: "c4n4ry", says: "no JSON web token"},
		"ended":              {given: old, says: "it has been good until"},
		"GitHub refuses":     {env: map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": s.URL + "/github", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "c4n4ry"}, says: "401 who are you?"},
		"Buildkite refuses":  {env: map[string]string{"BUILDKITE_AGENT_ACCESS_TOKEN": "c4n4ry", "BUILDKITE_JOB_ID": "1", "BUILDKITE_AGENT_ENDPOINT": s.URL}, says: "401 who are you?"},
		"for somebody else":  {given: s.Token(map[string]any{"aud": "c4n4ry"}), says: "the token is for somebody else"},
		"of somebody else":   {given: sigstoretest.New(t).Token(nil), says: "from nobody we know"},
		"names nobody":       {given: s.Token(map[string]any{"sub": ""}), says: "names nobody"},
		"GitHub, no address": {env: map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "\x00", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "c4n4ry"}, says: "is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := &cosign.Tokens{Given: c.given, Provider: c.provider, Audience: sigstoretest.Audience, File: filepath.Join(t.TempDir(), "none"), Now: time.Now}
			tokens.Lookup = func(name string) (string, bool) { s, ok := c.env[name]; return s, ok }
			if c.file != "" {
				tokens.File = c.file
			}
			got, _, err := (&cosign.Certificates{URL: s.URL, Token: tokens.Token, Now: time.Now}).Identity(t.Context())
			if c.says == "" && (err != nil || got.Subject != c.who) {
				t.Errorf("%s: %v", got, err)
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, want one that says %q", err, c.says)
			}
			if err != nil && (strings.Contains(err.Error(), "c4n4ry") || c.given != "" && strings.Contains(err.Error(), c.given)) {
				t.Errorf("the token in %v", err)
			}
		})
	}
}

// TestServicesFile chooses as cosign does.
func TestServicesFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signing_config.json")
	if err := os.WriteFile(file, []byte(`{
		"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
		"caUrls": [{"url": "https://old.example", "majorApiVersion": 1, "validFor": {"start": "2020-01-01T00:00:00Z"}, "operator": "a"},
			{"url": "https://new.example", "majorApiVersion": 1, "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "a"},
			{"url": "https://gone.example", "majorApiVersion": 1, "validFor": {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}, "operator": "a"}],
		"rekorTlogUrls": [{"url": "https://log1.example", "majorApiVersion": 1, "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "a"},
			{"url": "https://log2.example", "majorApiVersion": 2, "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "a"}],
		"rekorTlogConfig": {"selector": "ANY"},
		"tsaUrls": [{"url": "https://tsa.example/api", "majorApiVersion": 1, "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "a"},
			{"url": "https://tsa.example/two", "majorApiVersion": 1, "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "b"}],
		"tsaConfig": {"selector": "EXACT", "count": 2}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := cosign.ServicesFile(file, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if s.Fulcio != "https://new.example" || len(s.Logs) != 1 || s.Logs[0] != (cosign.Log{URL: "https://log2.example", Version: 2}) || len(s.Timestamps) != 2 {
		t.Errorf("%+v", s)
	}
	if err := s.Check(cosign.Bundle); err != nil {
		t.Error(err)
	}
	if err := s.Check(cosign.Both); err == nil || !strings.Contains(err.Error(), "--signature-format bundle") {
		t.Error(err)
	}
	if err := (cosign.Services{Fulcio: "ftp://x"}).Check(cosign.Bundle); err == nil {
		t.Error("it is an address")
	}
	if _, err := cosign.ServicesFile(file, time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)); err == nil {
		t.Error("nothing is valid then")
	}
}
