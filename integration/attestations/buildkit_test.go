// Package attestations compares what the executor tells of an image with what BuildKit tells.
package attestations

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/strake-build/strake/integration/buildkit"
)

// daemon is BuildKit's. It is compiled by scripts/buildkit only, as that takes minutes.
func daemon(t *testing.T) *buildkit.Daemon {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(cache, "strake", "buildkit-v*", "buildkitd"))
	if len(found) == 0 {
		t.Skip("buildkitd is not compiled: scripts/buildkit install")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("buildkitd needs runc: apt-get install runc")
	}
	d, err := buildkit.Start(t.Context(), filepath.Dir(found[len(found)-1]), t.TempDir(), "127.0.0.1:1")
	if errors.Is(err, buildkit.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// shape is an attested image without what must differ: digests, sizes, contents.
type shape struct {
	Entries []entry
	About   []about
}

type entry struct {
	Type, Platform, ArtifactType string
	Annotations                  []string
}

type about struct {
	Type, ArtifactType, Config string
	SubjectIsImage             bool
	Layers                     []told
}

type told struct {
	Type          string
	Annotations   map[string]string
	Statement     string
	PredicateType string
	AboutImage    bool
	Names         []string
	Keys          []string // of the predicate
}

func read(t *testing.T, dir string) (s shape) {
	t.Helper()
	top, err := layout.ImageIndexFromPath(dir)
	check(t, err)
	m, err := top.IndexManifest()
	check(t, err)
	index, err := top.ImageIndex(m.Manifests[0].Digest)
	check(t, err)
	m, err = index.IndexManifest()
	check(t, err)
	for _, d := range m.Manifests {
		e := entry{Type: string(d.MediaType), Platform: d.Platform.String(), ArtifactType: d.ArtifactType}
		for k, v := range d.Annotations {
			if strings.HasPrefix(v, "sha256:") {
				v = "the image: " + image(m, v)
			}
			e.Annotations = append(e.Annotations, k+"="+v)
		}
		slices.Sort(e.Annotations)
		s.Entries = append(s.Entries, e)
		if d.Platform.OS == "unknown" {
			img, err := index.Image(d.Digest)
			check(t, err)
			s.About = append(s.About, read1(t, m, img))
		}
	}
	return s
}

// image is the platform of an entry.
func image(m *v1.IndexManifest, digest string) string {
	for _, d := range m.Manifests {
		if d.Digest.String() == digest {
			return d.Platform.String()
		}
	}
	return "none"
}

func read1(t *testing.T, index *v1.IndexManifest, img v1.Image) (a about) {
	t.Helper()
	m, err := img.Manifest()
	check(t, err)
	a = about{Type: string(m.MediaType), ArtifactType: m.ArtifactType, Config: string(m.Config.MediaType) + " " + m.Config.Digest.String()}
	a.SubjectIsImage = m.Subject != nil && m.Subject.Digest == index.Manifests[0].Digest
	layers, err := img.Layers()
	check(t, err)
	for i, l := range layers {
		r, err := l.Compressed()
		check(t, err)
		raw, err := io.ReadAll(r)
		check(t, err)
		var st struct {
			Type    string `json:"_type"`
			Subject []struct {
				Name   string
				Digest map[string]string
			}
			Predicate map[string]map[string]any
			PredType  string `json:"predicateType"`
		}
		check(t, json.Unmarshal(raw, &st))
		x := told{Type: string(m.Layers[i].MediaType), Annotations: m.Layers[i].Annotations, Statement: st.Type, PredicateType: st.PredType}
		for _, s := range st.Subject {
			x.Names = append(x.Names, s.Name)
			x.AboutImage = s.Digest["sha256"] == index.Manifests[0].Digest.Hex
		}
		for k, v := range st.Predicate {
			for inner := range v {
				// Of a directory BuildKit knows no digest, and then lists nothing.
				if !strings.HasPrefix(inner, "buildkit_") && inner != "resolvedDependencies" {
					x.Keys = append(x.Keys, k+"."+inner)
				}
			}
		}
		slices.Sort(x.Keys)
		a.Layers = append(a.Layers, x)
	}
	return a
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAsBuildKit builds one Dockerfile with both, each putting its provenance into
// an index, and compares all that does not have to differ.
func TestAsBuildKit(t *testing.T) {
	d := daemon(t)
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o600))
	theirs, ours := filepath.Join(t.TempDir(), "theirs"), filepath.Join(t.TempDir(), "ours")
	check(t, d.Control(t.Context(), "build", "--frontend", "dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+dir,
		"--opt", "attest:provenance=mode=min", "--output", "type=oci,tar=false,name=registry.example/team/app:1,dest="+theirs))
	executor := filepath.Join(t.TempDir(), "executor")
	for _, args := range [][]string{
		{"go", "build", "-o", executor, "github.com/strake-build/strake/executor"},
		{executor, "--context", dir, "--destination", "registry.example/team/app:1", "--no-push", "--oci-layout-path", ours, "--provenance", "min", "--attestation-to", "index", "--kaniko-dir", t.TempDir()},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	if diff := cmp.Diff(read(t, theirs), read(t, ours)); diff != "" {
		t.Errorf("theirs and ours:\n%s", diff)
	}
}
