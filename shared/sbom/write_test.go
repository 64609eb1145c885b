package sbom_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/strake-build/strake/shared/sbom"
)

func about() sbom.About {
	return sbom.About{
		Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}, Name: "registry.example/app", Version: "1.0",
		Created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), Tool: "strake-1.0",
	}
}

func sample() map[string]string {
	return map[string]string{
		"etc/os-release":                                    debian,
		"var/lib/dpkg/status.d/libc6":                       "Package: libc6\nVersion: 2.36\nArchitecture: amd64\n",
		"app/node_modules/@a/b/package.json":                `{"name":"@a/b","version":"1.0.0","license":"MIT OR <odd>"}`,
		"app/node_modules/c/node_modules/@a/b/package.json": `{"name":"@a/b","version":"1.0.0"}`,
		"app/broken.jar":                                    "x",
	}
}

// written is a list in a format, twice the same.
func written(t *testing.T, f sbom.Format, files map[string]string) []byte {
	t.Helper()
	_, found := urls(t, files)
	raw, err := found.Write(f, about())
	if err != nil {
		t.Fatal(err)
	}
	_, found = urls(t, files)
	if again, err := found.Write(f, about()); err != nil || !bytes.Equal(raw, again) {
		t.Errorf("%v: two lists of one image differ", err)
	}
	return raw
}

// valid holds a document against a schema. Schemas are found by the addresses
// that they give themselves.
func valid(t *testing.T, schema string, raw []byte, more ...string) {
	t.Helper()
	c := jsonschema.NewCompiler()
	for _, f := range append(more, schema) {
		r, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(r)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		id := "file:///" + filepath.Base(f)
		if m, ok := doc.(map[string]any); ok {
			if s, ok := m["$id"].(string); ok {
				id = s
			}
		}
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
		schema = id
	}
	s, err := c.Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%v", err)
	}
}

func TestSPDX(t *testing.T) {
	for _, files := range []map[string]string{sample(), {"file": "nothing"}} {
		raw := written(t, sbom.SPDX, files)
		valid(t, "testdata/schema/spdx-schema-2.3.json", raw)
		doc, err := spdxjson.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := spdxlib.ValidateDocument(doc); err != nil {
			t.Error(err)
		}
		ids := make(map[string]bool)
		for _, p := range doc.Packages {
			ids[string(p.PackageSPDXIdentifier)] = true
		}
		want := 1
		if len(files) > 1 {
			want = 4
			if !strings.Contains(doc.DocumentComment, "/app/broken.jar") {
				t.Errorf("comment %q", doc.DocumentComment)
			}
		}
		if len(ids) != want || len(doc.Relationships) != want {
			t.Errorf("%d packages, %d relationships, want %d", len(ids), len(doc.Relationships), want)
		}
	}
}

func TestCycloneDX(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	schema := filepath.Join(strings.TrimSpace(string(dir)), "schema")
	for _, files := range []map[string]string{sample(), {"file": "nothing"}} {
		raw := written(t, sbom.CycloneDX, files)
		valid(t, filepath.Join(schema, "bom-1.6.schema.json"), raw, filepath.Join(schema, "spdx.schema.json"), filepath.Join(schema, "jsf-0.82.schemax.json"))
		var bom cyclonedx.BOM
		if err := json.Unmarshal(raw, &bom); err != nil {
			t.Fatal(err)
		}
		want, got := 0, 0
		if len(files) > 1 {
			want = 4 // three packages and the system
		}
		if bom.Components != nil {
			got = len(*bom.Components)
		}
		if got != want || bom.Metadata.Component.Name != "registry.example/app" {
			t.Errorf("%d components: %s", got, raw)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := (&sbom.Found{}).Write("syft", about()); err == nil {
		t.Error("a format that there is not")
	}
}
