package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/strake-build/strake/shared/layer"
)

// blob is a gzip layer with one file.
func blob(t *testing.T, name string, created time.Time) *layer.Blob {
	t.Helper()
	var plain, packed bytes.Buffer
	tw := tar.NewWriter(&plain)
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(tw, name)
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	zw := gzip.NewWriter(&packed)
	zw.Write(plain.Bytes())
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	diffID, _, _ := v1.SHA256(bytes.NewReader(plain.Bytes()))
	digest, size, _ := v1.SHA256(bytes.NewReader(packed.Bytes()))
	return &layer.Blob{
		Digest: digest, Size: size, DiffID: diffID, MediaType: types.OCILayer, Created: created,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil },
	}
}

func baseBlob(t *testing.T, name string, mt types.MediaType) *layer.Blob {
	b := blob(t, name, time.Time{})
	b.MediaType = mt
	b.Descriptor = &v1.Descriptor{
		MediaType: mt, Digest: b.Digest, Size: b.Size,
		URLs: []string{"https://elsewhere.example/blob"},
		Annotations: map[string]string{
			"containerd.io/uncompressed":                  b.DiffID.String(),
			"containerd.io/distribution.source.docker.io": "library/x",
			"buildkit/createdat":                          "now",
			"containerd.io/snapshot/stargz/toc.digest":    "kept",
		},
	}
	return b
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

const (
	frontendConfig = `{"variant":"v8","os":"linux","architecture":"arm64","x-unknown":{"b":1,"a":"<&>"},
	"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]},
	"config":{"Healthcheck":{"Test":["CMD","true"],"StartInterval":5000000000},"OnBuild":["RUN x"],"Shell":["/bin/sh","-c"],"ArgsEscaped":true},
	"history":[
		{"created":"2020-01-01T00:00:00Z","created_by":"ADD base","comment":"other"},
		{"created":"2020-01-02T00:00:00.000Z","created_by":"CMD [\"sh\"]","empty_layer":true},
		{"created_by":"ENV a=b","empty_layer":true},
		{"created_by":"RUN one"},
		{"created_by":"USER x","empty_layer":true},
		{"created_by":"RUN two"},
		{"created_by":"CMD y","empty_layer":true}]}`
	baseConfig = `{"os":"linux","architecture":"arm64","history":[
		{"created":"2020-01-01T00:00:00.000000Z","created_by":"ADD base","comment":"other"},
		{"created":"2020-01-02T00:00:00Z","created_by":"CMD [\"sh\"]","empty_layer":true}]}`
)

func spec(t *testing.T) Spec {
	return Spec{
		Config: []byte(frontendConfig), Base: []byte(baseConfig), Now: at("2024-05-05T00:00:00Z"),
		Layers: []*layer.Blob{
			baseBlob(t, "base", types.DockerLayer),
			blob(t, "one", at("2024-03-01T00:00:00Z")),
			blob(t, "two", at("2024-03-02T02:00:00+02:00")),
		},
	}
}

func build(t *testing.T, s Spec) v1.Image {
	t.Helper()
	img, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Fatal(err)
	}
	return img
}

// rowTimes writes the days of the rows, with a "-" before those without a layer.
func rowTimes(t *testing.T, img v1.Image) string {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, h := range c.History {
		s := h.Created.UTC().Format("060102")
		if h.EmptyLayer {
			s = "-" + s
		}
		out = append(out, s)
	}
	return strings.Join(out, " ") + " = " + c.Created.UTC().Format("060102")
}

func TestTimes(t *testing.T) {
	epoch := at("2024-03-01T12:00:00Z")
	early := at("2010-01-01T00:00:00Z")
	tests := []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"plain", func(*Spec) {}, "200101 -200102 -240301 240301 -240301 240302 -240302 = 240302"},
		{"epoch clamps", func(s *Spec) { s.Epoch = &epoch }, "200101 -200102 -240301 240301 -240301 240301 -240301 = 240301"},
		{"epoch before the base", func(s *Spec) { s.Epoch = &early }, "200101 -200102 -100101 100101 -100101 100101 -100101 = 100101"},
		{"epoch without base config", func(s *Spec) { s.Epoch, s.Base = &early, nil }, "100101 -100101 -100101 100101 -100101 100101 -100101 = 100101"},
		{"reproducible", func(s *Spec) { s.Reproducible = true }, "200101 -200102 -700101 700101 -700101 700101 -700101 = 700101"},
		{"reproducible with later epoch", func(s *Spec) { e := at("2030-01-01T00:00:00Z"); s.Reproducible, s.Epoch = true, &e }, "200101 -200102 -300101 300101 -300101 300101 -300101 = 300101"},
		{"layers of unknown time", func(s *Spec) { s.Layers[1].Created, s.Layers[2].Created = time.Time{}, time.Time{} }, "200101 -200102 -200102 200102 -200102 200102 -200102 = 200102"},
		{"layer missing", func(s *Spec) { s.Layers = s.Layers[:2] }, "200101 -200102 -240301 240301 -240301 -240301 -240301 = 240301"},
		{"row missing", func(s *Spec) { s.Layers = append(s.Layers, blob(t, "three", at("2024-03-03T00:00:00Z"))) }, "200101 -200102 -240301 240301 -240301 240302 -240302 240303 = 240303"},
		{"created given", func(s *Spec) {
			s.Config = []byte(strings.Replace(frontendConfig, "{", `{"created":"2024-01-01T00:00:00Z",`, 1))
		}, "200101 -200102 -240301 240301 -240301 240302 -240302 = 240101"},
		{"scratch, metadata only", func(s *Spec) {
			s.Config, s.Base, s.Layers = []byte(`{"os":"linux","architecture":"arm64","history":[{"created_by":"ENV","empty_layer":true}]}`), nil, nil
		}, "-240505 = 240505"},
		{"nothing", func(s *Spec) {
			s.Config, s.Base, s.Layers = []byte(`{"os":"linux","architecture":"arm64"}`), nil, nil
		}, " = 240505"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t)
			tt.change(&s)
			if got := rowTimes(t, build(t, s)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestConfigKeepsWhatItDoesNotKnow(t *testing.T) {
	s := spec(t)
	img := build(t, s)
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(s.Config, &want); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"config", "variant", "x-unknown"} {
		g, _ := json.Marshal(got[k])
		w, _ := json.Marshal(want[k])
		if !bytes.Equal(g, w) {
			t.Errorf("%s: got %s, want %s", k, g, w)
		}
	}
	c, _ := img.ConfigFile()
	if len(c.RootFS.DiffIDs) != 3 || c.RootFS.DiffIDs[0] != s.Layers[0].DiffID {
		t.Errorf("diff IDs: %v", c.RootFS.DiffIDs)
	}
	if !json.Valid(raw) || bytes.Index(raw, []byte(`"architecture"`)) > bytes.Index(raw, []byte(`"variant"`)) {
		t.Error("keys are not sorted")
	}
}

func TestSameSpecSameDigest(t *testing.T) {
	a, _ := build(t, spec(t)).Digest()
	b, _ := build(t, spec(t)).Digest()
	if a != b {
		t.Errorf("%s and %s", a, b)
	}
}

func TestFormats(t *testing.T) {
	zstd := func(t *testing.T) *layer.Blob {
		b := blob(t, "z", at("2024-03-01T00:00:00Z"))
		b.MediaType = types.OCILayerZStd
		return b
	}
	tests := []struct {
		name   string
		format Format
		layers func(*testing.T) []*layer.Blob
		want   string // manifest and config, then layers; or an error's part
	}{
		{"as a docker base", "", func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", types.DockerLayer), blob(t, "n", time.Time{})}
		}, "docker docker.image.rootfs.diff.tar.gzip docker.image.rootfs.diff.tar.gzip"},
		{"as an oci base", "", func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", types.OCILayer), blob(t, "n", time.Time{})}
		}, "oci oci.image.layer.v1.tar+gzip oci.image.layer.v1.tar+gzip"},
		{"mixed base", "", func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", types.DockerLayer), baseBlob(t, "c", types.OCILayer)}
		}, "oci oci.image.layer.v1.tar+gzip oci.image.layer.v1.tar+gzip"},
		{"zstd on a docker base", "", func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", types.DockerLayer), zstd(t)}
		}, "oci oci.image.layer.v1.tar+gzip oci.image.layer.v1.tar+zstd"},
		{"to oci", OCI, func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", types.DockerLayer), baseBlob(t, "c", types.DockerForeignLayer), baseBlob(t, "d", types.DockerUncompressedLayer), baseBlob(t, "e", dockerZstd)}
		}, "oci oci.image.layer.v1.tar+gzip oci.image.layer.nondistributable.v1.tar+gzip oci.image.layer.v1.tar oci.image.layer.v1.tar+zstd"},
		{"to docker", Docker, func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", types.OCILayer), baseBlob(t, "c", types.OCIRestrictedLayer), baseBlob(t, "d", types.OCIUncompressedLayer)}
		}, "docker docker.image.rootfs.diff.tar.gzip docker.image.rootfs.foreign.diff.tar.gzip docker.image.rootfs.diff.tar"},
		{"zstd to docker", Docker, func(t *testing.T) []*layer.Blob { return []*layer.Blob{zstd(t)} }, "no zstd layers"},
		{"unknown to docker", Docker, func(t *testing.T) []*layer.Blob {
			return []*layer.Blob{baseBlob(t, "b", "application/x-odd")}
		}, "has no equal"},
		{"unknown format", "tar", func(*testing.T) []*layer.Blob { return nil }, "it is oci or docker"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img, err := New(Spec{Config: []byte(`{"os":"linux","architecture":"amd64"}`), Layers: tt.layers(t), Format: tt.format})
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got error %v, want %s", err, tt.want)
				}
				return
			}
			m, _ := img.Manifest()
			family := string(OCI)
			if m.MediaType == types.DockerManifestSchema2 {
				family = string(Docker)
			}
			if isDocker(m.MediaType) != isDocker(m.Config.MediaType) {
				t.Errorf("manifest %s with config %s", m.MediaType, m.Config.MediaType)
			}
			got := []string{family}
			for i, d := range m.Layers {
				got = append(got, strings.TrimPrefix(string(d.MediaType), "application/vnd."))
				if family == string(Docker) && d.Annotations != nil {
					t.Errorf("docker layer %d has annotations %v", i, d.Annotations)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

func TestDescriptorOfBaseLayer(t *testing.T) {
	s := spec(t)
	s.Format = OCI
	s.Annotations = map[string]string{"org.opencontainers.image.title": "x"}
	img := build(t, s)
	m, _ := img.Manifest()
	d := m.Layers[0]
	if len(d.Annotations) != 1 || d.Annotations["containerd.io/snapshot/stargz/toc.digest"] != "kept" || len(d.URLs) != 1 {
		t.Errorf("got %+v", d)
	}
	if len(s.Layers[0].Descriptor.Annotations) != 4 {
		t.Error("the base's descriptor was changed")
	}
	if m.Annotations["org.opencontainers.image.title"] != "x" {
		t.Errorf("manifest annotations: %v", m.Annotations)
	}
	ls, _ := img.Layers()
	ld, err := partial.Descriptor(ls[0])
	if err != nil || len(ld.URLs) != 1 {
		t.Errorf("descriptor of layer: %+v, %v", ld, err)
	}
}

func TestLayerIsOpenedLateAndMountable(t *testing.T) {
	b := blob(t, "x", time.Time{})
	open, opened := b.Open, 0
	b.Open = func() (io.ReadCloser, error) { opened++; return open() }
	b.Repository = "registry.example/some/base"
	img, err := New(Spec{Config: []byte(`{"os":"linux","architecture":"amd64"}`), Layers: []*layer.Blob{b}})
	if err != nil {
		t.Fatal(err)
	}
	if opened != 0 {
		t.Errorf("opened %d times", opened)
	}
	ls, _ := img.Layers()
	ml, ok := ls[0].(*remote.MountableLayer)
	if !ok || ml.Reference.Context().Name() != "registry.example/some/base" {
		t.Errorf("not mountable: %#v", ls[0])
	}

	b.Size = 0
	if img, err = New(Spec{Config: []byte(`{"os":"linux","architecture":"amd64"}`), Layers: []*layer.Blob{b}}); err != nil {
		t.Fatal(err)
	}
	if opened != 1 {
		t.Errorf("a layer of unknown size was opened %d times", opened)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

func TestRepeatedLayer(t *testing.T) {
	b := blob(t, "same", at("2024-03-01T00:00:00Z"))
	img := build(t, Spec{Config: []byte(`{"os":"linux","architecture":"amd64"}`), Layers: []*layer.Blob{b, b, b}})
	if ls, _ := img.Layers(); len(ls) != 3 {
		t.Errorf("%d layers", len(ls))
	}
}

func TestRefused(t *testing.T) {
	good := `{"os":"linux","architecture":"amd64"}`
	b := blob(t, "x", time.Time{})
	nameless := *b
	nameless.DiffID = v1.Hash{}
	lost := *b
	lost.Repository = "Not A Repository"
	for name, tt := range map[string]struct {
		spec Spec
		want string
	}{
		"no config":      {Spec{}, "read image config"},
		"null config":    {Spec{Config: []byte("null")}, "without os"},
		"no platform":    {Spec{Config: []byte(`{"os":"linux"}`)}, "without os or architecture"},
		"broken base":    {Spec{Config: []byte(good), Base: []byte("{")}, "config of base image"},
		"no diff ID":     {Spec{Config: []byte(good), Layers: []*layer.Blob{&nameless}}, "a digest is missing"},
		"bad repository": {Spec{Config: []byte(good), Layers: []*layer.Blob{&lost}}, "origin of layer"},
	} {
		if _, err := New(tt.spec); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestIndex(t *testing.T) {
	one := func(arch string, f Format) v1.Image {
		return build(t, Spec{Config: []byte(`{"os":"linux","architecture":"` + arch + `"}`), Format: f, Layers: []*layer.Blob{blob(t, arch, at("2024-03-01T00:00:00Z"))}})
	}
	arm, amd := one("arm64", OCI), one("amd64", OCI)
	idx, err := Index([]Platformed{{Image: arm}, {Image: amd, Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}, Annotations: map[string]string{"a": "b"}}}, "", map[string]string{"c": "d"})
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	m, _ := idx.IndexManifest()
	if m.MediaType != types.OCIImageIndex || m.Annotations["c"] != "d" || m.Manifests[1].Annotations["a"] != "b" {
		t.Errorf("got %+v", m)
	}
	if m.Manifests[0].Platform.Architecture != "arm64" || m.Manifests[0].ArtifactType != "" {
		t.Errorf("first is %+v", m.Manifests[0])
	}
	if _, err := Index([]Platformed{{Image: arm}, {Image: one("amd64", Docker)}}, "", nil); err == nil {
		t.Error("mixed families were accepted")
	}
	if _, err := Index([]Platformed{{Image: one("amd64", Docker)}}, "", map[string]string{"c": "d"}); err == nil {
		t.Error("annotations of a docker list were accepted")
	}
	if idx, err = Index([]Platformed{{Image: one("amd64", Docker)}}, "", nil); err != nil {
		t.Fatal(err)
	}
	if mt, _ := idx.MediaType(); mt != types.DockerManifestList {
		t.Errorf("media type %s", mt)
	}
}
