package attest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/attest"
)

func TestAddressesHaveNoCredentials(t *testing.T) {
	for raw, want := range map[string]string{
		"https://user:canary@host/a.tar?X-Sig=canary#main": "https://host/a.tar#main",
		"https://canary@host/repo.git":                     "https://host/repo.git",
		"user:canary@host:path/repo.git":                   "host:path/repo.git",
		"git@host:path/repo.git#v1":                        "host:path/repo.git#v1",
		"https://user:ca%nary@host/x?canary":               "https://host/x",
		"pkg:docker/app@1?platform=linux%2Famd64":          "pkg:docker/app@1?platform=linux%2Famd64",
		"docker-image://user:canary@host/app:1":            "docker-image://host/app:1",
		"":                                                 "",
	} {
		if got := attest.Address(raw); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestSecretNames(t *testing.T) {
	for name, want := range map[string]bool{
		"NPM_TOKEN": true, "token": true, "api_key": true, "DB_PASSWORD_1": true, "AUTH": true,
		"NPMTOKEN": true, "MONKEY": false, "AUTHOR": false, "BYPASS": false, "PUBLIC_KEY": false, "KEY_FILE": false, "TOKEN_VERSION": false, "VERSION": false, "": false,
	} {
		if got := attest.IsSecret(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTexts(t *testing.T) {
	r := attest.Redact(map[string]string{"NPM_TOKEN": "canary1", "NPM_TOKEN_LONG": "canary1canary2", "PIN_KEY": "abc", "VERSION": "1.0.0"})
	for text, want := range map[string]string{
		"ARG NPM_TOKEN=canary1 VERSION=1.0.0":        "ARG NPM_TOKEN=*** VERSION=1.0.0",
		"x canary1canary2 y":                         "x *** y",
		"RUN curl 'https://u:canary@h/p?canary' abc": "RUN curl 'https://h/p?***' abc",
		"RUN curl https://$U:$P@h/p?t=$T":            "RUN curl https://$U:$P@h/p?t=$T",
		"COPY https://h/p /":                         "COPY https://h/p /",
		"ADD https://github.com/a/b.git#v1 /":        "ADD https://github.com/a/b.git#v1 /",
		`ENTRYPOINT ["x", "http://h/?a=b"]`:          `ENTRYPOINT ["x", "http://h/?***"]`,
	} {
		if got := r.Text(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestInstructions(t *testing.T) {
	r := attest.Redact(map[string]string{"NPM_TOKEN": "canary1", "MIRROR": "https://me:canary2@h/?canary3"})
	for text, want := range map[string]string{
		"RUN |2 MIRROR=https://me:canary2@h/?canary3 NPM_TOKEN=canary1 /bin/sh -c curl https://h/?a=b": "RUN |2 MIRROR=https://h/?*** NPM_TOKEN=*** /bin/sh -c curl https://h/?a=b",
		"LABEL url=http://example.org/?a=b":                "LABEL url=http://example.org/?a=b",
		"[2/4] ADD https://h/f?sig=canary /":               "[2/4] ADD https://h/f?*** /",
		"ADD https://u:canary@h/r.git?branch=b&subdir=d /": "ADD https://h/r.git?branch=b&subdir=d /",
		"ADD https://h/r.git?ref=v1&token=canary#x:y /":    "ADD https://h/r.git?***#x:y /",
		"ADD https://u:canary@h/f / # buildkit":            "ADD https://h/f / # buildkit",
	} {
		if got := r.Instruction(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func facts() attest.Facts {
	return attest.Facts{
		Context:    attest.Resource{URI: "https://user:canary1@host/ctx.tar?sig=canary2", Digest: map[string]string{"sha256": "aa"}},
		Dockerfile: attest.Dockerfile{Path: "Dockerfile", Digest: map[string]string{"sha256": "bb"}},
		Target:     "release", Platform: "linux/amd64", BuilderPlatform: "linux/amd64", Version: "1",
		Contexts: map[string]string{"other": "https://canary3@host/x.git?canary4"},
		Args:     map[string]string{"NPM_TOKEN": "canary5", "VERSION": "1.0", "MIRROR": "fetch https://me:canary6@host/?canary7 now"},
		Labels:   map[string]string{"a": "b", "copy": "is canary5"},
		Steps:    []attest.Step{{Name: "RUN curl https://x:canary8@host/?canary9"}, {Name: "COPY canary5 /", Inputs: []int{0}}},
		Dependencies: []attest.Resource{
			{URI: "https://u:canary10@host/b", Digest: map[string]string{"sha256": "cc"}},
			{URI: "https://u:other@host/b", Digest: map[string]string{"sha256": "cc"}},
			{URI: "https://host/a?canary11"},
		},
		Started: time.Unix(1e9, 5), Finished: time.Unix(1e9+60, 0),
	}
}

func TestProvenanceTellsNoSecret(t *testing.T) {
	for _, mode := range []attest.Mode{attest.Min, attest.Max} {
		p, err := attest.Options{Mode: mode, Invocation: "https://t:canary12@ci/run/1"}.Provenance(facts())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(p.Content), "canary") || strings.Contains(string(p.Content), "NPM_TOKEN") {
			t.Errorf("%s: a secret in %s", mode, p.Content)
		}
		if told := strings.Contains(string(p.Content), `"VERSION":"1.0"`); told != (mode == attest.Max) {
			t.Errorf("%s: arguments told: %v", mode, told)
		}
	}
}

func TestProvenance(t *testing.T) {
	p, err := attest.Options{Mode: attest.Max}.Provenance(facts())
	if err != nil {
		t.Fatal(err)
	}
	var got attest.Provenance
	if err := json.Unmarshal(p.Content, &got); err != nil {
		t.Fatal(err)
	}
	d := got.BuildDefinition
	if d.BuildType != attest.BuildType || got.RunDetails.Builder.ID != attest.Builder || len(d.InternalParameters.Steps) != 2 {
		t.Errorf("%s", p.Content)
	}
	if n := len(d.ResolvedDependencies); n != 2 || d.ResolvedDependencies[0].URI != "https://host/a" {
		t.Errorf("dependencies %v", d.ResolvedDependencies)
	}
	if m := got.RunDetails.Metadata; m.Started.Unix() != 1e9 || m.Started.Nanosecond() != 0 {
		t.Errorf("times %v", m)
	}
	again := facts()
	again.Started = time.Time{}
	q, err := attest.Options{Mode: attest.Max, BuilderID: "https://ci/builder"}.Provenance(again)
	if err != nil || strings.Contains(string(q.Content), "metadata") || !strings.Contains(string(q.Content), `"id":"https://ci/builder"`) {
		t.Errorf("%v: %s", err, q.Content)
	}
}

func TestNames(t *testing.T) {
	for want, in := range map[string][3]string{
		"pkg:docker/registry.example/team/app@1.0?platform=linux%2Farm64": {"registry.example/team/app", "1.0", "linux/arm64"},
		"pkg:docker/alpine": {"alpine", "", ""},
	} {
		if got := attest.Name(in[0], in[1], in[2]); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestManifest(t *testing.T) {
	about := v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 7, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}}
	statements := attest.State(about.Digest, []string{"pkg:docker/a"}, []attest.Predicate{
		{Type: attest.TypeProvenance, Content: []byte(`{"a":1}`)}, {Type: attest.TypeSPDX, Content: []byte(`{}`)},
	})
	img, err := attest.Manifest(about, statements)
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject == nil || m.Subject.Digest != about.Digest || m.ArtifactType != "application/vnd.docker.attestation.manifest.v1+json" {
		t.Errorf("manifest %+v", m)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 || m.Layers[1].Annotations["in-toto.io/predicate-type"] != attest.TypeSPDX {
		t.Fatalf("%v: layers %+v", err, m.Layers)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	var st attest.Statement
	if err := json.NewDecoder(r).Decode(&st); err != nil || st.Subject[0].Digest["sha256"] != about.Digest.Hex || string(st.Predicate) != `{"a":1}` {
		t.Errorf("%v: %+v", err, st)
	}
	if _, err := img.LayerByDigest(about.Digest); err == nil {
		t.Error("a layer that is not there")
	}
}
