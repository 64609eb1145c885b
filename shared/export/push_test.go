package export

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
)

// watched is a registry that notes requests and refuses some.
type watched struct {
	host   string
	mu     sync.Mutex
	log    []string
	refuse func(r *http.Request) (status int, body string)
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{}
	inner := ggcr.New(quiet())
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.log = append(w.log, r.Method+" "+r.URL.Path)
		refuse := w.refuse
		w.mu.Unlock()
		if refuse != nil {
			if status, body := refuse(r); status != 0 {
				rw.WriteHeader(status)
				fmt.Fprint(rw, body)
				return
			}
		}
		inner.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.host = strings.TrimPrefix(srv.URL, "http://")
	return w
}

// count counts the requests that have all parts.
func (w *watched) count(parts ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
next:
	for _, l := range w.log {
		for _, p := range parts {
			if !strings.Contains(l, p) {
				continue next
			}
		}
		n++
	}
	return n
}

func has(t *testing.T, ref string, want v1.Hash) bool {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(r)
	return err == nil && d.Digest == want
}

func TestPushEarly(t *testing.T) {
	w := watch(t)
	c := client(t)
	var sent []Sent
	p := &Push{
		Targets: []Target{target(t, c, w.host+"/one:a"), target(t, c, w.host+"/one:b"), target(t, c, w.host+"/two:a")},
		Report:  func(s Sent) { sent = append(sent, s) },
	}
	a, b := blob(t, "a"), blob(t, "b")
	for _, l := range []*layer.Blob{a, b, a, b} {
		p.Upload(t.Context(), l)
	}
	p.Wait()
	if n := w.count("PUT", "/one/blobs/uploads/"); n != 2 {
		t.Errorf("%d uploads to the first repository", n)
	}
	if n := w.count("/manifests/"); n != 0 {
		t.Errorf("%d requests for manifests before the image", n)
	}
	img := newImage(t, "amd64", a, b)
	if err := p.Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"/one:a", "/one:b", "/two:a"} {
		if !has(t, w.host+ref, digestOf(t, img)) {
			t.Errorf("%s is missing", ref)
		}
	}
	if n := w.count("PUT", "/one/blobs/uploads/"); n > 3 { // the config, unless it is mounted
		t.Errorf("%d uploads to the first repository", n)
	}
	layers := 0
	for _, s := range sent {
		if s.Err != nil {
			t.Errorf("%s: %v", s.Name, s.Err)
		}
		if s.Layer {
			layers++
		}
	}
	if layers != 4 || len(sent) != 7 {
		t.Errorf("%d layers and %d in all were reported", layers, len(sent))
	}
}

// TestPushWaitsForUploads, even for those that the image has no use for.
func TestPushWaitsForUploads(t *testing.T) {
	w := watch(t)
	extra := blob(t, "of no use")
	w.refuse = func(r *http.Request) (int, string) {
		if r.Method == http.MethodPut && r.URL.Query().Get("digest") == extra.Digest.String() {
			time.Sleep(100 * time.Millisecond)
		}
		return 0, ""
	}
	under := true
	p := &Push{Targets: []Target{target(t, client(t), w.host+"/x:1")}, Report: func(s Sent) { under = under && !s.Layer }}
	p.Upload(t.Context(), extra)
	if err := p.Export(t.Context(), newImage(t, "amd64")); err != nil {
		t.Fatal(err)
	}
	if under {
		t.Error("an upload outlives the push")
	}
}

func TestPushReportsEachFailure(t *testing.T) {
	good, bad := watch(t), watch(t)
	bad.refuse = func(r *http.Request) (int, string) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/v2/") {
			return 0, ""
		}
		return http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"no"}]}`
	}
	c := client(t)
	img := newImage(t, "amd64", blob(t, "a"))
	p := &Push{Targets: []Target{target(t, c, bad.host+"/x:1"), target(t, c, good.host+"/x:1"), target(t, c, bad.host+"/y:1")}}
	p.Upload(t.Context(), blob(t, "a")) // refused as well, and no matter
	err := p.Export(t.Context(), img)
	if !errors.Is(err, registry.ErrDenied) {
		t.Fatalf("got %v", err)
	}
	x, y := strings.Index(err.Error(), bad.host+"/x:1"), strings.Index(err.Error(), bad.host+"/y:1")
	if x < 0 || y < x || strings.Contains(err.Error(), good.host) {
		t.Errorf("got %v", err)
	}
	if !has(t, good.host+"/x:1", digestOf(t, img)) {
		t.Error("the good destination was not served")
	}
}

func TestPushImmutable(t *testing.T) {
	w := watch(t)
	c := client(t)
	old, img := newImage(t, "amd64", blob(t, "old")), newImage(t, "amd64", blob(t, "new"))
	p := &Push{Targets: []Target{target(t, c, w.host+"/x:1")}, Retries: 5, RetryWait: time.Hour}
	if err := p.Export(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	w.refuse = func(r *http.Request) (int, string) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/1") {
			return http.StatusBadRequest, `{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists in the 'x' repository and cannot be overwritten because the repository is immutable."}]}`
		}
		return 0, ""
	}
	if err := p.Export(t.Context(), old); err != nil {
		t.Errorf("the same digest again: %v", err)
	}
	if err := p.Export(t.Context(), img); !errors.Is(err, registry.ErrImmutable) {
		t.Errorf("another digest: %v", err)
	}
	p.IgnoreImmutable = true
	var told Sent
	p.Report = func(s Sent) { told = s }
	if err := p.Export(t.Context(), img); err != nil {
		t.Errorf("ignored: %v", err)
	}
	if told.Err == nil || !told.Ignored {
		t.Errorf("told %+v", told)
	}
}

func TestPushRetries(t *testing.T) {
	w := watch(t)
	left := 2
	w.refuse = func(r *http.Request) (int, string) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && left > 0 {
			left--
			return http.StatusServiceUnavailable, ""
		}
		return 0, ""
	}
	c := client(t)
	img := newImage(t, "amd64", blob(t, "a"))
	p := &Push{Targets: []Target{target(t, c, w.host+"/x:1")}, Retries: 1, RetryWait: time.Millisecond}
	if err := p.Export(t.Context(), img); !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	left, p.Retries = 2, 2
	if err := p.Export(t.Context(), img); err != nil {
		t.Errorf("got %v", err)
	}
	left, p.Retries, p.RetryWait = 9, 9, time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Export(ctx, newImage(t, "arm64")); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

func TestPushByDigest(t *testing.T) {
	w := watch(t)
	c := client(t)
	tg := target(t, c, w.host+"/x")
	tg.Tag = ""
	img := newImage(t, "amd64", blob(t, "a"))
	if err := (&Push{Targets: []Target{tg}}).Export(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if has(t, w.host+"/x:latest", digestOf(t, img)) || !has(t, w.host+"/x@"+digestOf(t, img).String(), digestOf(t, img)) {
		t.Error("it has a tag, or is not there")
	}
	if got := tg.String(); got != w.host+"/x" {
		t.Errorf("name %s", got)
	}
}

func TestDestinations(t *testing.T) {
	for in, want := range map[string]string{
		"alpine":                              "index.docker.io/library/alpine:latest docker.io/library/alpine:latest",
		"docker.io/a/b:1":                     "index.docker.io/a/b:1 docker.io/a/b:1",
		"localhost:5000/x":                    "localhost:5000/x:latest localhost:5000/x:latest",
		"x@sha256:" + strings.Repeat("0", 64): "error",
		"Upper/Case:1":                        "error",
	} {
		d, err := ParseDestination(in)
		got := "error"
		if err == nil {
			got = d.String() + " " + d.docker()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
