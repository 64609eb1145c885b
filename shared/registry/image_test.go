package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

type noCredentials struct{}

func (noCredentials) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.Anonymous, nil
}

func platform(s string) *v1.Platform {
	p, _ := v1.ParsePlatform(s)
	return p
}

func digest(t testing.TB, d interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	h, err := d.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestImage(t *testing.T) {
	s := registrytest.New(t)
	amd, arm := registrytest.Image(t, "linux/amd64"), registrytest.Image(t, "linux/arm64")
	root := s.Push(t, "org/app:1", registrytest.Index(t, amd, arm))
	c := client(t, registry.Options{})

	img, err := c.Image(t.Context(), s.Ref("org/app:1"), platform("linux/arm64/v8"))
	if err != nil {
		t.Fatal(err)
	}
	if img.Ref != s.Ref("org/app:1") || img.Repository != s.Ref("org/app") {
		t.Errorf("ref %s, repository %s", img.Ref, img.Repository)
	}
	if img.Root.Digest != root || img.Root.MediaType != types.OCIImageIndex || img.Manifest.Digest != digest(t, arm) {
		t.Errorf("root %v, manifest %v", img.Root, img.Manifest)
	}
	if conf, _ := arm.RawConfigFile(); !bytes.Equal(conf, img.RawConfig) || img.Platform.Architecture != "arm64" {
		t.Errorf("config %s, platform %v", img.RawConfig, img.Platform)
	}
	ls, _ := arm.Layers()
	for i, l := range img.Layers {
		if diffID, _ := ls[i].DiffID(); l.DiffID != diffID || !bytes.Equal(read(t, l), compressed(t, ls[i])) {
			t.Errorf("layer %d is another", i)
		}
	}
	byDigest, err := c.Image(t.Context(), s.Ref("org/app@"+root.String()), platform("linux/amd64"))
	if err != nil || byDigest.Manifest.Digest != digest(t, amd) {
		t.Errorf("by digest: %v, %v", byDigest, err)
	}
}

func read(t testing.TB, l registry.Layer) []byte {
	t.Helper()
	b, err := readAll(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readAll(ctx context.Context, l registry.Layer) ([]byte, error) {
	r, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func compressed(t testing.TB, l v1.Layer) []byte {
	t.Helper()
	r, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImageIsAskedOnce(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "app:1", registrytest.Index(t, registrytest.Image(t, "linux/amd64"), registrytest.Image(t, "linux/arm64")))
	c := client(t, registry.Options{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			p := platform([]string{"linux/amd64", "linux/arm64"}[i%2])
			if _, err := c.Image(t.Context(), s.Ref("app:1"), p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.Count("GET", "/manifests/"); n != 3 {
		t.Errorf("%d manifests fetched, want the index and two more", n)
	}
	if n := s.Count("GET", "/blobs/"); n != 2 {
		t.Errorf("%d blobs fetched, want two configs", n)
	}
}

// TestPinnedImageIsKnown resolves a tag and comes back with its digest, as a build does.
func TestPinnedImageIsKnown(t *testing.T) {
	s := registrytest.New(t)
	root := s.Push(t, "app:1", registrytest.Index(t, registrytest.Image(t, "linux/amd64")))
	c := client(t, registry.Options{})
	tagged, err := c.Image(t.Context(), s.Ref("app:1"), platform("linux/amd64"))
	if err != nil {
		t.Fatal(err)
	}
	s.Forget()
	pinned, err := c.Image(t.Context(), s.Ref("app:1@"+root.String()), platform("linux/amd64"))
	if err != nil {
		t.Fatal(err)
	}
	if pinned.Manifest.Digest != tagged.Manifest.Digest || len(s.Requests()) != 0 {
		t.Errorf("manifest %v by %d more requests, want %v by none", pinned.Manifest.Digest, len(s.Requests()), tagged.Manifest.Digest)
	}
}

func TestCancelledQuestionIsAskedAgain(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "app:1", registrytest.Image(t, "linux/amd64"))
	s.Fail(registrytest.Fault{Path: "/manifests/", Times: 1, Hang: true})
	c := client(t, registry.Options{Retries: -1})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := c.Image(ctx, s.Ref("app:1"), nil)
		first <- err
	}()
	for s.Count("", "/manifests/") == 0 {
	}
	second := make(chan error)
	go func() {
		_, err := c.Image(t.Context(), s.Ref("app:1"), nil)
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled one: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the other: %v", err)
	}
}

func TestPlatform(t *testing.T) {
	s := registrytest.New(t)
	push := func(name string, platforms ...string) {
		var imgs []v1.Image
		for _, p := range platforms {
			imgs = append(imgs, registrytest.Image(t, p))
		}
		s.Push(t, name, registrytest.Index(t, imgs...))
	}
	push("arm:1", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "windows/amd64")
	push("old:1", "linux/386", "linux/arm/v5", "linux/arm/v6")
	push("levels:1", "linux/amd64/v2", "linux/amd64", "linux/amd64/v3")
	s.Push(t, "single:1", registrytest.Image(t, "linux/s390x"))
	nested := mutate.AppendManifests(registrytest.Index(t), mutate.IndexAddendum{Add: registrytest.Index(t, registrytest.Image(t, "linux/riscv64"))})
	s.Push(t, "nested:1", nested)
	s.Push(t, "bare:1", mutate.AppendManifests(registrytest.Index(t),
		mutate.IndexAddendum{Add: registrytest.Image(t, "linux/ppc64le")}, mutate.IndexAddendum{Add: registrytest.Image(t, "linux/riscv64")}))

	c := client(t, registry.Options{})
	for _, tt := range []struct{ ref, want, got string }{
		{"arm:1", "linux/arm64", "linux/arm64/v8"},
		{"arm:1", "linux/arm/v7", "linux/arm/v7"},
		{"arm:1", "linux/arm", "linux/arm/v7"},
		{"arm:1", "linux/arm/v6", "linux/arm/v6"},
		{"old:1", "linux/arm/v7", "linux/arm/v6"},
		{"old:1", "linux/amd64", ""},
		{"old:1", "linux/arm64", ""},
		{"levels:1", "linux/amd64", "linux/amd64"},
		{"levels:1", "linux/amd64/v3", "linux/amd64/v3"},
		{"levels:1", "linux/amd64/v4", "linux/amd64/v3"},
		{"single:1", "linux/amd64", "linux/s390x"},
		{"nested:1", "linux/riscv64", "linux/riscv64"},
		{"nested:1", "linux/amd64", ""},
		{"bare:1", "linux/riscv64", "linux/riscv64"},
		{"bare:1", "linux/amd64", ""},
	} {
		img, err := c.Image(t.Context(), s.Ref(tt.ref), platform(tt.want))
		switch {
		case tt.got == "" && !errors.Is(err, registry.ErrNoPlatform):
			t.Errorf("%s for %s: %v", tt.ref, tt.want, err)
		case tt.got != "" && (err != nil || img.Platform.String() != tt.got):
			t.Errorf("%s for %s: want %s, error %v", tt.ref, tt.want, tt.got, err)
		}
	}
	_, err := c.Image(t.Context(), s.Ref("old:1"), platform("linux/s390x"))
	if err == nil || !strings.Contains(err.Error(), "linux/386, linux/arm/v5, linux/arm/v6") {
		t.Errorf("the error does not say what there is: %v", err)
	}
}

func TestHostPlatform(t *testing.T) {
	s := registrytest.New(t)
	host := registry.HostPlatform()
	s.Push(t, "app:1", registrytest.Index(t, registrytest.Image(t, "plan9/mips"), registrytest.Image(t, host.String())))
	img, err := client(t, registry.Options{}).Image(t.Context(), s.Ref("app:1"), nil)
	if err != nil || img.Platform.OS != host.OS {
		t.Fatalf("%+v, %v", img, err)
	}
}

func TestRefused(t *testing.T) {
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "x:good", img)
	good, _ := img.RawManifest()
	oci, list := string(types.OCIManifestSchema1), string(types.OCIImageIndex)
	change := func(from, to string) []byte {
		b := bytes.Replace(good, []byte(from), []byte(to), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("no %q in %s", from, good)
		}
		return b
	}
	m, _ := img.Manifest()
	second := m.Layers[1].Digest.String()
	for tag, c := range map[string]struct {
		mediaType string
		raw       []byte
		want      error
	}{
		"schema1":   {string(types.DockerManifestSchema1Signed), []byte(`{"schemaVersion":1,"fsLayers":[]}`), registry.ErrUnsupported},
		"html":      {"text/html", []byte(`<html>please log in</html>`), registry.ErrIntegrity},
		"both":      {string(m.MediaType), change(`"config"`, `"manifests":[],"config"`), registry.ErrIntegrity},
		"lies":      {oci, []byte(`{"schemaVersion":2,"mediaType":"` + list + `","manifests":[]}`), registry.ErrIntegrity},
		"hollow":    {oci, []byte(`{"schemaVersion":2,"mediaType":"` + oci + `"}`), registry.ErrIntegrity},
		"nodigest":  {oci, []byte(`{"schemaVersion":2,"config":{"size":1},"layers":[]}`), registry.ErrIntegrity},
		"artifact":  {oci, []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[]}`), registry.ErrUnsupported},
		"layers":    {string(m.MediaType), change(`"digest":"`+second, `"annotations":{},"digest":"`+second), nil},
		"layertype": {string(m.MediaType), change(string(m.Layers[0].MediaType), "application/vnd.other"), registry.ErrUnsupported},
	} {
		s.PutManifest(t, "x:"+tag, c.mediaType, c.raw)
		_, err := client(t, registry.Options{}).Image(t.Context(), s.Ref("x:"+tag), platform("linux/amd64"))
		if !errors.Is(err, c.want) && c.want != nil || c.want == nil && err != nil {
			t.Errorf("%s: %v", tag, err)
		}
	}
}

func TestDiffIDsMustFitLayers(t *testing.T) {
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	conf, _ := img.ConfigFile()
	conf = conf.DeepCopy()
	conf.RootFS.DiffIDs = conf.RootFS.DiffIDs[:1]
	img, err := mutate.ConfigFile(img, conf)
	if err != nil {
		t.Fatal(err)
	}
	s.Push(t, "x:1", img)
	if _, err := client(t, registry.Options{}).Image(t.Context(), s.Ref("x:1"), nil); !errors.Is(err, registry.ErrUnsupported) {
		t.Error(err)
	}
}

func TestManifestIsCompared(t *testing.T) {
	flip := func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"schemaVersion"`), []byte(` "schemaVersion"`), 1)
	}
	huge := func([]byte) []byte { return bytes.Repeat([]byte(" "), registry.LongestDocument+1) }
	for name, alter := range map[string]func([]byte) []byte{"altered": flip, "huge": huge} {
		s := registrytest.New(t)
		d := s.Push(t, "x:1", registrytest.Image(t, "linux/amd64"))
		s.Fail(registrytest.Fault{Path: "/manifests/", Alter: alter})
		for _, ref := range []string{"x:1", "x@" + d.String()} {
			_, err := client(t, registry.Options{}).Patient().Image(t.Context(), s.Ref(ref), nil)
			if !errors.Is(err, registry.ErrIntegrity) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestForeignLayerIsNotFollowed(t *testing.T) {
	s, other := registrytest.New(t), registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "x:good", img)
	m, _ := img.Manifest()
	m = m.DeepCopy()
	m.Layers[0].MediaType = types.DockerForeignLayer
	m.Layers[0].Digest.Hex = strings.Repeat("0", 64)
	m.Layers[0].URLs = []string{"http://" + other.Host + "/blob"}
	s.PutManifest(t, "x:1", string(m.MediaType), marshal(t, m))
	got, err := client(t, registry.Options{}).Image(t.Context(), s.Ref("x:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t.Context(), got.Layers[0]); !errors.Is(err, registry.ErrNotFound) || !strings.Contains(err.Error(), "foreign") {
		t.Error(err)
	}
	if n := len(other.Requests()); n > 0 {
		t.Errorf("%d requests to the foreign address", n)
	}
}

func TestKinds(t *testing.T) {
	for status, want := range map[int]error{
		http.StatusNotFound:           registry.ErrNotFound,
		http.StatusUnauthorized:       registry.ErrDenied,
		http.StatusForbidden:          registry.ErrDenied,
		http.StatusServiceUnavailable: registry.ErrUnavailable,
		http.StatusTooManyRequests:    registry.ErrUnavailable,
	} {
		s := registrytest.New(t)
		s.Fail(registrytest.Fault{Path: "/manifests/", Status: status, Body: "<html>" + strings.Repeat("x\x1b[31m\n", 10000)})
		_, err := client(t, registry.Options{Retries: 1}).Image(t.Context(), s.Ref("x:1"), nil)
		if !errors.Is(err, want) {
			t.Errorf("%d: %v", status, err)
			continue
		}
		for _, part := range []string{s.Host, "x:1", "("} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%d: no %s in %v", status, part, err)
			}
		}
		if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%d: not fit for a log: %q", status, err)
		}
	}
	s := registrytest.New(t)
	s.Close()
	if _, err := client(t, registry.Options{Retries: 1}).Image(t.Context(), s.Ref("x:1"), nil); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
}
