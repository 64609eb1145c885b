package build_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry/registrytest"
	"github.com/strake-build/strake/shared/sbom"
	"github.com/strake-build/strake/shared/tree"
)

// provenance gives the predicate of the only statement, which fits our schema.
func provenance(t *testing.T, a build.Attested) attest.Provenance {
	t.Helper()
	raw := a.Statements[0].Predicate
	c := jsonschema.NewCompiler()
	s, err := c.Compile("../../docs/provenance.schema.json")
	must(t, err)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	must(t, err)
	if err := s.Validate(doc); err != nil {
		t.Errorf("%v: %s", err, raw)
	}
	var p attest.Provenance
	must(t, json.Unmarshal(raw, &p))
	return p
}

func dependency(p attest.Provenance, uri, name string) *attest.Resource {
	all := p.BuildDefinition.ResolvedDependencies
	i := slices.IndexFunc(all, func(r attest.Resource) bool { return r.URI == uri && r.Name == name })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func TestProvenance(t *testing.T) {
	b := newBed(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("from the web")) }))
	defer web.Close()
	req := b.request(t, "FROM %s AS made\nARG VERSION\nADD "+web.URL+"/file?sig=secret /web\nFROM made AS other\nCOPY --from=named file /named\nCOPY file /\n")
	req.Locals = map[string]string{"named-0": b.context}
	req.Frontend.Contexts = map[string]string{"named": "local:named-0"}
	req.Frontend.Target, req.Frontend.BuildArgs = "other", map[string]string{"VERSION": "1.0", "API_KEY": "hidden"}
	req.Attestations = build.Attestations{Provenance: attest.Options{Mode: attest.Max, Invocation: "https://ci/1"}, Names: []build.Name{{Repository: "registry.example/app", Tag: "1"}}}
	res := b.run(t, req)
	a := res.Attested[0]
	if s := a.Statements[0].Subject[0]; s.Name != "pkg:docker/registry.example/app@1?platform=linux%2Famd64" || "sha256:"+s.Digest["sha256"] != digest(t, res.Images[0]) {
		t.Errorf("subject %+v", s)
	}
	p := provenance(t, a)
	d := p.BuildDefinition
	if x := d.ExternalParameters; x.Target != "other" || x.Platform != "linux/amd64" || x.Dockerfile.Path != "Dockerfile" || len(x.Args) != 1 || x.Args["VERSION"] != "1.0" || x.Contexts["named"] != "local" {
		t.Errorf("parameters %+v", x)
	}
	if m := p.RunDetails.Metadata; m == nil || m.Invocation != "https://ci/1" || m.Started.Unix() != 1.7e9 {
		t.Errorf("metadata %+v", m)
	}
	if x := dependency(p, web.URL+"/file", ""); x == nil || x.Digest["sha256"] != attest.Bytes([]byte("from the web"))["sha256"] {
		t.Errorf("the web: %+v of %+v", x, d.ResolvedDependencies)
	}
	index, err := b.base.Digest()
	must(t, err)
	if x := dependency(p, attest.Name(b.Ref("busybox"), "latest", "linux/amd64"), ""); x == nil || x.Digest["sha256"] != index.Hex {
		t.Errorf("the base: %+v of %+v", x, d.ResolvedDependencies)
	}
	for _, name := range []string{"context", "named"} {
		if x := dependency(p, "", name); x == nil || x.Digest["dirHash"] == "" {
			t.Errorf("%s: %+v of %+v", name, x, d.ResolvedDependencies)
		}
	}
	if len(d.InternalParameters.Steps) < 5 {
		t.Errorf("steps %+v", d.InternalParameters.Steps)
	}

	req.Attestations.Provenance.Mode = attest.Min
	if x := provenance(t, b.run(t, req).Attested[0]).BuildDefinition; x.ExternalParameters.Args != nil || x.InternalParameters.Steps != nil {
		t.Errorf("min tells %+v", x)
	}
}

// TestAttestationsReproduce: with a time given, nothing tells of another.
func TestAttestationsReproduce(t *testing.T) {
	b := newBed(t)
	req := b.request(t, "FROM %s\nCOPY file /\n")
	req.Reproducible = true
	req.Format = image.OCI
	req.Attestations = build.Attestations{Provenance: attest.Options{Mode: attest.Max, Invocation: "https://ci/1"}, SBOM: []sbom.Format{sbom.CycloneDX, sbom.SPDX}, Index: true}
	first := b.run(t, req)
	req.Attestations.Provenance.Invocation = "https://ci/2"
	builder := b.builder(t)
	now := builder.Now().AddDate(1, 0, 0)
	builder.Now = func() time.Time { return now }
	second, err := builder.Run(t.Context(), req)
	must(t, err)
	defer func() { must(t, second.Close()) }()
	if digest(t, first.Artifact) != digest(t, second.Artifact) {
		t.Errorf("%s\n%s", first.Attested[0].Statements, second.Attested[0].Statements)
	}
}

// TestAttestationIndex is the layout of BuildKit: images, then what is told of them.
func TestAttestationIndex(t *testing.T) {
	b := newBed(t)
	b.Push(t, "busybox:latest", registrytest.Index(t, b.base, registrytest.Image(t, "linux/arm64")))
	req := b.request(t, "FROM %s\nCOPY file /\n")
	req.Frontend.Platforms = []ocispecs.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}}
	req.Format = image.OCI
	req.Attestations = build.Attestations{Provenance: attest.Options{Mode: attest.Min}, SBOM: []sbom.Format{sbom.SPDX}, Index: true}
	res := b.run(t, req)
	index, ok := res.Artifact.(v1.ImageIndex)
	if !ok {
		t.Fatalf("the artifact is %T", res.Artifact)
	}
	m, err := index.IndexManifest()
	must(t, err)
	if len(m.Manifests) != 4 {
		t.Fatalf("%d entries", len(m.Manifests))
	}
	for i := range 2 {
		d, about := m.Manifests[2+i], m.Manifests[i].Digest
		if d.Platform.OS != "unknown" || d.Annotations["vnd.docker.reference.digest"] != about.String() {
			t.Errorf("entry %d: %+v", 2+i, d)
		}
		img, err := index.Image(d.Digest)
		must(t, err)
		got, err := img.Manifest()
		must(t, err)
		if got.Subject.Digest != about || len(got.Layers) != 2 {
			t.Errorf("attestation %d: %+v", i, got)
		}
	}
}

// TestBOMOfLayers: what a step removed is not listed, what the base has is.
func TestBOMOfLayers(t *testing.T) {
	b := newBed(t)
	for name, text := range map[string]string{"a": "Package: a\nVersion: 1\n", "b": "Package: b\nVersion: 2\n"} {
		must(t, os.WriteFile(filepath.Join(b.context, name), []byte(text), 0o600))
	}
	req := b.request(t, "FROM %s\nCOPY a b /var/lib/dpkg/status.d/\nRUN rm /var/lib/dpkg/status.d/a\n")
	req.Attestations = build.Attestations{SBOM: []sbom.Format{sbom.SPDX}}
	got := string(b.run(t, req).Attested[0].Statements[0].Predicate)
	if strings.Contains(got, "pkg:deb/debian/a@1") || !strings.Contains(got, "pkg:deb/debian/b@2") {
		t.Error(got)
	}
}

// TestDirHash is what sha256sum says.
func TestDirHash(t *testing.T) {
	table := layer.NewTable()
	for name, text := range map[string]string{"a/z": "1", "a-b": "2", "b": ""} {
		table.Make(name).Inode = &layer.Inode{Kind: layer.Regular, Size: int64(len(text)), Content: layer.Bytes(text)}
	}
	got, err := tree.NewView(table.Seal()).DirHash(t.Context())
	must(t, err)
	var want strings.Builder
	for _, f := range [][2]string{{"a-b", "2"}, {"a/z", "1"}, {"b", ""}} {
		want.WriteString(attest.Bytes([]byte(f[1]))["sha256"] + "  " + f[0] + "\n")
	}
	if w := attest.Bytes([]byte(want.String()))["sha256"]; got != w {
		t.Errorf("%s, want %s", got, w)
	}
}
