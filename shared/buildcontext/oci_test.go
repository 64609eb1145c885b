package buildcontext_test

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// part is a layer of an artifact.
type part struct {
	data   []byte
	typ    types.MediaType
	title  string
	unpack bool
}

func artifact(t *testing.T, parts ...part) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.oci.empty.v1+json")
	for _, p := range parts {
		notes := map[string]string{}
		if p.title != "" {
			notes["org.opencontainers.image.title"] = p.title
		}
		if p.unpack {
			notes["io.deis.oras.content.unpack"] = "true"
		}
		var err error
		img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(p.data, p.typ), Annotations: notes})
		must(t, err)
	}
	return img
}

func TestArtifacts(t *testing.T) {
	s := registrytest.New(t)
	client, err := registry.New(registry.Options{Insecure: true, InsecurePull: true})
	must(t, err)
	archive := gzipped(t, pack(t, "Dockerfile = FROM scratch", "dir/a = x", ".wh.b = y"))
	for name, c := range map[string]struct {
		parts []part
		want  string
		ok    bool
	}{
		"archive":     {[]part{{data: archive, typ: "application/vnd.oci.image.layer.v1.tar+gzip", title: "context.tar.gz"}}, ".wh.b = y, Dockerfile = FROM scratch, dir/, dir/a = x", true},
		"files":       {[]part{{data: []byte("FROM a"), typ: "text/plain", title: "Dockerfile"}, {data: []byte("x"), typ: "text/plain", title: "d/e/f.tar"}}, "Dockerfile = FROM a, d/, d/e/, d/e/f.tar = x", true},
		"folder":      {[]part{{data: archive, typ: "application/vnd.oci.image.layer.v1.tar+gzip", title: "src", unpack: true}, {data: []byte("n"), typ: "text/plain", title: "new"}}, ".wh.b = y, Dockerfile = FROM scratch, dir/, dir/a = x, new = n", true},
		"out":         {[]part{{data: []byte("x"), typ: "text/plain", title: "../x"}}, "", false},
		"absolute":    {[]part{{data: []byte("x"), typ: "text/plain", title: "/etc/x"}}, "", false},
		"nothing":     {nil, "", false},
		"no-archive":  {[]part{{data: []byte("no archive"), typ: "text/plain"}}, "", false},
		"cut-archive": {[]part{{data: archive[:len(archive)/2], typ: "text/plain"}}, "", false},
	} {
		s.Push(t, name+":1", artifact(t, c.parts...))
		src, err := buildcontext.New("oci://"+s.Ref(name+":1"), buildcontext.Options{})
		must(t, err)
		got, err := fetch(t, src, buildcontext.Means{Registry: client})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil {
			if l := list(t, got); l != c.want {
				t.Errorf("%s: got %q", name, l)
			}
		}
	}
}

// An image is a context, too: whiteouts mean what they mean in images.
func TestImageAsContext(t *testing.T) {
	s := registrytest.New(t)
	client, err := registry.New(registry.Options{Insecure: true, InsecurePull: true})
	must(t, err)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		static.NewLayer(pack(t, "a = x", "b = y"), types.OCIUncompressedLayer), static.NewLayer(pack(t, ".wh.a", "c = z"), types.OCIUncompressedLayer))
	must(t, err)
	s.Push(t, "image:1", mutate.ConfigMediaType(img, types.OCIConfigJSON))
	src, err := buildcontext.New("oci://"+s.Ref("image:1"), buildcontext.Options{})
	must(t, err)
	c, err := fetch(t, src, buildcontext.Means{Registry: client})
	must(t, err)
	if got := list(t, c); got != "b = y, c = z" {
		t.Errorf("got %q", got)
	}
}
