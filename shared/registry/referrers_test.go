package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// referrer is an artifact about a manifest.
func referrer(t testing.TB, subject v1.Descriptor, note string) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.example.thing")
	img, ok := mutate.Subject(mutate.Annotations(img, map[string]string{"note": note}).(v1.Image), subject).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	return img
}

func noReferrersAPI(s *registrytest.Server) {
	s.Fail(registrytest.Fault{Path: "/referrers/", Status: http.StatusNotFound, Body: "404 page not found"})
}

func subject(t testing.TB, s *registrytest.Server, c *registry.Client) *registry.Document {
	t.Helper()
	s.Push(t, "app:1", registrytest.Image(t, "linux/amd64"))
	d, err := c.Document(t.Context(), s.Ref("app:1"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func notes(list []v1.Descriptor) []string {
	var all []string
	for _, d := range list {
		all = append(all, d.ArtifactType+" "+d.Annotations["note"])
	}
	return all
}

func TestAttach(t *testing.T) {
	for name, prepare := range map[string]func(*registrytest.Server){
		"with the API":    func(*registrytest.Server) {},
		"without the API": noReferrersAPI,
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			prepare(s)
			c := client(t, registry.Options{})
			doc := subject(t, s, c)
			p, err := c.Pusher(s.Ref("app"))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a second time changes nothing
				if _, err := p.Attach(t.Context(), referrer(t, doc.Descriptor, "one")); err != nil {
					t.Fatal(err)
				}
			}
			list, err := doc.Referrers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"application/vnd.example.thing one"}, notes(list)); diff != "" {
				t.Error(diff)
			}
			if _, err := doc.Child(t.Context(), list[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAttachAtOnce: nobody's entry of the fallback tag is lost, though each
// writer has a client of his own and knows nothing of the others.
func TestAttachAtOnce(t *testing.T) {
	s := registrytest.New(t)
	noReferrersAPI(s)
	doc := subject(t, s, client(t, registry.Options{}))
	const writers = 6
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		p, err := client(t, registry.Options{}).Pusher(s.Ref("app"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _, errs[i] = p.Attach(context.Background(), referrer(t, doc.Descriptor, fmt.Sprint(i))) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	list, err := doc.Referrers(t.Context())
	if err != nil || len(list) != writers {
		t.Errorf("%d of %d are listed: %v (%v)", len(list), writers, notes(list), err)
	}
}

func TestReferrersIsNeverEmptyByMistake(t *testing.T) {
	for name, f := range map[string]registrytest.Fault{
		"too many requests": {Path: "/referrers/", Status: http.StatusTooManyRequests},
		"denied":            {Path: "/referrers/", Status: http.StatusForbidden},
		"broken":            {Path: "/referrers/", Status: http.StatusInternalServerError},
		"no JSON":           {Path: "/referrers/", Status: http.StatusOK, Body: "<html>log in"},
		"empty JSON":        {Path: "/referrers/", Status: http.StatusOK, Body: "{}"},
		"fallback denied":   {Path: "/manifests/sha256-", Status: http.StatusForbidden},
		"fallback broken":   {Path: "/manifests/sha256-", Status: http.StatusBadGateway},
		"fallback no index": {Path: "/manifests/sha256-", Status: http.StatusOK, Body: `{"schemaVersion":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			c := client(t, registry.Options{Retries: -1})
			doc := subject(t, s, c)
			s.Fail(f)
			noReferrersAPI(s)
			if list, err := doc.Referrers(t.Context()); err == nil {
				t.Errorf("got %v and no error", list)
			}
		})
	}
}

func TestReferrersPages(t *testing.T) {
	s := registrytest.New(t)
	c := client(t, registry.Options{})
	doc := subject(t, s, c)
	page := func(digit string) string {
		d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(digit, 64)}}
		b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s.Fail(registrytest.Fault{Path: "/referrers/", Times: 1, Status: http.StatusOK, Body: page("1"), Header: http.Header{"Link": {`<?page=2>; rel="next"`}}})
	s.Fail(registrytest.Fault{Path: "/referrers/", Times: 1, Status: http.StatusOK, Body: page("2")})
	list, err := doc.Referrers(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("got %d entries, want 2 (%v)", len(list), err)
	}
}
