package export

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/strake-build/strake/shared/attest"
)

// attested is an image and a manifest about it.
func attested(t *testing.T) (v1.Image, v1.Image) {
	t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	about, err := describe(img)
	if err != nil {
		t.Fatal(err)
	}
	m, err := attest.Manifest(about, attest.State(about.Digest, nil, []attest.Predicate{{Type: attest.TypeProvenance, Content: []byte("{}")}}))
	if err != nil {
		t.Fatal(err)
	}
	return img, m
}

// TestPushReferrersBeforeTags: watch's registry has no referrers API.
func TestPushReferrersBeforeTags(t *testing.T) {
	w := watch(t)
	c := client(t)
	img, about := attested(t)
	p := &Push{Targets: []Target{target(t, c, w.host+"/one:a"), target(t, c, w.host+"/one:b"), target(t, c, w.host+"/two:a")}, Referrers: []v1.Image{about}}
	if err := p.Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, repo := range []string{"one", "two"} {
		fallback := slices.Index(w.log, "PUT /v2/"+repo+"/manifests/sha256-"+d.Hex)
		tag := slices.Index(w.log, "PUT /v2/"+repo+"/manifests/a")
		if fallback < 0 || tag < fallback {
			t.Errorf("%s: the fallback tag is request %d, the tag %d of %q", repo, fallback, tag, w.log)
		}
	}
	if n := w.count("PUT", "/one/manifests/sha256-"); n != 1 {
		t.Errorf("attached %d times to one repository", n)
	}
}

// TestPushWithoutReferrers: what could not be told keeps the tag where it is.
func TestPushWithoutReferrers(t *testing.T) {
	w := watch(t)
	w.refuse = func(r *http.Request) (int, string) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") {
			return http.StatusForbidden, ""
		}
		return 0, ""
	}
	img, about := attested(t)
	var sent []Sent
	p := &Push{Targets: []Target{target(t, client(t), w.host+"/one:a")}, Referrers: []v1.Image{about}, Report: func(s Sent) { sent = append(sent, s) }}
	if err := p.Export(t.Context(), img); err == nil {
		t.Fatal("no error")
	}
	if n := w.count("PUT", "/one/manifests/a"); n > 0 {
		t.Error("the tag moved")
	}
	if len(sent) != 1 || !sent[0].Referrer || sent[0].Err == nil {
		t.Errorf("reported %+v", sent)
	}
}

func TestLayoutReferrers(t *testing.T) {
	img, about := attested(t)
	dir := t.TempDir()
	if err := (&Layout{Path: dir, Referrers: []v1.Image{about}}).Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	a, closer, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	got, err := Referrers(dir)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v: %d referrers", err, len(got))
	}
	want, err1 := img.Digest()
	is, err2 := a.Digest()
	m, err3 := got[0].Manifest()
	if err1 != nil || err2 != nil || err3 != nil || is != want || m.Subject.Digest != want {
		t.Errorf("%v %v %v: %s, about %v, want %s", err1, err2, err3, is, m.Subject, want)
	}
	if none, err := Referrers(filepath.Join(dir, "index.json")); err != nil || none != nil {
		t.Errorf("of a file: %v, %v", none, err)
	}
}

func TestDocuments(t *testing.T) {
	dir := t.TempDir()
	d := &Documents{Dir: filepath.Join(dir, "new"), Files: map[string][]byte{"a.json": []byte("1"), "linux_amd64/b.json": []byte("2")}}
	if err := d.Export(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "new", "linux_amd64", "b.json")); err != nil || string(b) != "2" {
		t.Errorf("%v: %q", err, b)
	}
	d.Dir = filepath.Join(dir, "new", "a.json")
	if err := d.Export(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "a.json") {
		t.Errorf("got %v", err)
	}
}
