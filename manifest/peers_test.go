package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	mtregistry "github.com/estesp/manifest-tool/v2/pkg/registry"
	mttypes "github.com/estesp/manifest-tool/v2/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// execute runs the command in this process.
func execute(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := Main(t.Context(), append([]string{"manifest"}, args...), os.Environ(), strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("manifest %s: exit code %d\n%s", strings.Join(args, " "), code, stderr.String())
	}
	return stdout.String()
}

func document(t *testing.T, s *registrytest.Server, ref string) (doc any) {
	t.Helper()
	r, err := name.ParseReference(s.Ref(ref), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(r, remote.WithTransport(s.Transport()))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(d.Manifest)).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestManifestTool compares with manifest-tool itself, which is a library, too.
func TestManifestTool(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := registrytest.New(t)
	for tag, platform := range map[string]string{"linux-amd64": "linux/amd64", "linux-arm": "linux/arm/v7", "windows-amd64": "windows/amd64"} {
		img := registrytest.Image(t, platform)
		oci := mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
		s.Push(t, "app:docker-"+tag, img)
		s.Push(t, "app:oci-"+tag, oci)
	}
	for _, kind := range []string{"docker", "oci"} {
		t.Run(kind, func(t *testing.T) {
			spec := mttypes.YAMLInput{Image: s.Ref("app:theirs-" + kind), Tags: []string{"more-theirs"}}
			for _, p := range []ocispec.Platform{{OS: "linux", Architecture: "arm"}, {OS: "linux", Architecture: "amd64"}, {OS: "windows", Architecture: "amd64"}} {
				spec.Manifests = append(spec.Manifests, mttypes.ManifestEntry{Image: s.Ref("app:" + kind + "-" + p.OS + "-" + p.Architecture), Platform: p})
			}
			args := []string{"push", "--type", kind, "from-args", "--platforms", "linux/arm,linux/amd64,windows/amd64", "--template", s.Ref("app:" + kind + "-OS-ARCH"), "--target", s.Ref("app:ours-" + kind), "--tags", "more-ours"}
			form := mttypes.Docker
			if kind == "oci" {
				form = mttypes.OCI
				spec.Annotations = map[string]string{"a": "b"}
				args = append(args, "--annotations", "a=b")
			}
			if _, _, err := mtregistry.PushManifestList("", "", spec, false, false, true, form, ""); err != nil {
				t.Fatal(err)
			}
			execute(t, args...)
			if diff := cmp.Diff(document(t, s, "app:theirs-"+kind), document(t, s, "app:ours-"+kind)); diff != "" {
				t.Errorf("theirs and ours:\n%s", diff)
			}
			if diff := cmp.Diff(document(t, s, "app:more-theirs"), document(t, s, "app:more-ours")); diff != "" {
				t.Errorf("theirs and ours:\n%s", diff)
			}
		})
	}
}

// TestAppendManifests compares with go-containerregistry, of which crane is made.
func TestAppendManifests(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s := registrytest.New(t)
	idx := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	var refs []string
	for _, platform := range []string{"linux/amd64", "linux/s390x"} {
		img := mutate.ConfigMediaType(mutate.MediaType(registrytest.Image(t, platform), types.OCIManifestSchema1), types.OCIConfigJSON)
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		size, err := img.Size()
		if err != nil {
			t.Fatal(err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: size, Platform: p}})
		s.Push(t, "app:"+p.Architecture, img)
		refs = append(refs, s.Ref("app:"+p.Architecture))
	}
	s.Push(t, "app:theirs", idx)
	execute(t, append([]string{"create", "-t", s.Ref("app:ours")}, refs...)...)
	theirs, ours := document(t, s, "app:theirs"), document(t, s, "app:ours")
	// It puts the config's type there as the artifact's.
	for _, e := range theirs.(map[string]any)["manifests"].([]any) {
		delete(e.(map[string]any), "artifactType")
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("theirs and ours:\n%s", diff)
	}
}
