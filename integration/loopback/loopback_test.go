package loopback

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func start(t *testing.T, bases *Store) (*Server, *Store) {
	t.Helper()
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srv, err := Listen(t.Context(), 0, &Handler{Store: store, Bases: bases})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv, store
}

func image(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(4096, 3)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func ref(t *testing.T, s string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(s, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPushAndPull(t *testing.T) {
	srv, _ := start(t, nil)
	img, at := image(t), ref(t, srv.Addr+"/a/b:1")
	if err := remote.Write(at, img); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	tags, err := remote.List(at.Context())
	if err != nil || len(tags) != 1 || tags[0] != "1" {
		t.Errorf("tags are %v (%v)", tags, err)
	}
}

// TestBasesAreOnlyRead pulls from the bases, builds on them, and looks where the result went.
func TestBasesAreOnlyRead(t *testing.T) {
	first, bases := start(t, nil)
	base := image(t)
	if err := remote.Write(ref(t, first.Addr+"/library/base:1"), base); err != nil {
		t.Fatal(err)
	}
	srv, _ := start(t, bases)
	got, err := remote.Image(ref(t, srv.Addr+"/library/base:1"))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image(t).Layers()
	if err != nil {
		t.Fatal(err)
	}
	child, err := mutate.AppendLayers(got, layers...)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref(t, srv.Addr+"/child:1"), child); err != nil {
		t.Fatal(err)
	}
	if found, err := filepath.Glob(filepath.Join(bases.dir, "repos", "child")); err != nil || len(found) > 0 {
		t.Errorf("the bases have %v (%v)", found, err)
	}
}

// TestMountNeedsNoUpload mounts a blob of another repository.
func TestMountNeedsNoUpload(t *testing.T) {
	srv, _ := start(t, nil)
	img := image(t)
	if err := remote.Write(ref(t, srv.Addr+"/from:1"), img); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]int{"from": http.StatusCreated, "elsewhere": http.StatusAccepted} {
		if got := post(t, "http://"+srv.Addr+"/v2/to/blobs/uploads/?mount="+digest.String()+"&from="+from, ""); got != want {
			t.Errorf("mount from %s answered %d, not %d", from, got, want)
		}
	}
}

func post(t *testing.T, url, body string) int {
	t.Helper()
	resp, err := http.Post(url, "application/octet-stream", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func TestRefusals(t *testing.T) {
	srv, _ := start(t, nil)
	zero := "sha256:" + strings.Repeat("0", 64)
	if got := post(t, "http://"+srv.Addr+"/v2/x/blobs/uploads/?digest="+zero, "not zero"); got != http.StatusBadRequest {
		t.Errorf("wrong content answered %d", got)
	}
	if got := post(t, "http://"+srv.Addr+"/v2/../../x/blobs/uploads/?digest="+digestOf([]byte("a")), "a"); got == http.StatusCreated {
		t.Error("a repository outside of the store was made")
	}
	manifest := `{"schemaVersion":2,"config":{"digest":"` + zero + `"},"layers":[]}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+srv.Addr+"/v2/x/manifests/1", strings.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("manifest without its config answered %d", resp.StatusCode)
	}
}
