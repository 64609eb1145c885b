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

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

func pusher(t testing.TB, c *registry.Client, dest string) *registry.Pusher {
	t.Helper()
	p, err := c.Pusher(dest)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPush(t *testing.T) {
	s := registrytest.New(t)
	p := pusher(t, client(t, registry.Options{}), s.Ref("org/app:1"))
	img := registrytest.Image(t, "linux/amd64")
	h, err := p.Push(t.Context(), img)
	if err != nil || h != digest(t, img) {
		t.Fatalf("%v, %v", h, err)
	}
	got := s.Image(t, "org/app:1")
	if digest(t, got) != h {
		t.Error("another image is there")
	}
	ls, _ := img.Layers()
	for _, l := range ls {
		if !bytes.Equal(s.Blob("org/app", digest(t, l)), compressed(t, l)) {
			t.Error("another layer is there")
		}
	}
	if rs := s.Requests(); rs[len(rs)-1].Path != "/v2/org/app/manifests/1" {
		t.Errorf("the tag was not the last: %v", rs[len(rs)-1])
	}
	s.Forget()
	if _, err := p.Push(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	if n := s.Count(http.MethodPut, "") + s.Count(http.MethodPost, ""); n != 0 {
		t.Errorf("%d changes for what is there already", n)
	}
}

func TestPushByDigest(t *testing.T) {
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	h, err := pusher(t, client(t, registry.Options{}), s.Ref("app:1")).PushByDigest(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	s.Image(t, "app@"+h.String())
	c := client(t, registry.Options{})
	if _, err := c.Image(t.Context(), s.Ref("app:1"), nil); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("the tag: %v", err)
	}
}

func TestPushIndex(t *testing.T) {
	s := registrytest.New(t)
	a, b := registrytest.Image(t, "linux/amd64"), registrytest.Image(t, "linux/arm64")
	idx := registrytest.Index(t, a, b)
	p := pusher(t, client(t, registry.Options{}), s.Ref("app:1"))
	if _, err := p.Push(t.Context(), idx); err != nil {
		t.Fatal(err)
	}
	c := client(t, registry.Options{})
	got, err := c.Image(t.Context(), s.Ref("app:1"), platform("linux/arm64"))
	if err != nil || got.Manifest.Digest != digest(t, b) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDestination(t *testing.T) {
	c := client(t, registry.Options{})
	p := pusher(t, c, "app")
	if p.Ref() != "docker.io/library/app:latest" || p.Repository() != "docker.io/library/app" {
		t.Error(p.Ref(), p.Repository())
	}
	for dest, want := range map[string]string{
		"":         "empty",
		"Reg/X":    "lower case",
		"r.io/x:!": "could not parse",
		"r.io/x@sha256:0123456789012345678901234567890123456789012345678901234567890123": "tag",
	} {
		if _, err := c.Pusher(dest); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", dest, err)
		}
	}
}

func TestCheck(t *testing.T) {
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "mine:1", img)
	a := registrytest.Auth{User: "u", Password: "p", Bearer: true}
	a.May = func(repo, action string) bool { return action == "pull" || repo == "mine" }
	s.Require(a)
	c := client(t, registry.Options{Keychain: keys{s.Host: {Username: "u", Password: "p"}}})
	if err := pusher(t, c, s.Ref("mine:1")).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := pusher(t, c, s.Ref("other:1")).Check(t.Context()); !errors.Is(err, registry.ErrDenied) {
		t.Error(err)
	}
	if n := s.Count(http.MethodDelete, "/mine/blobs/uploads/"); n != 1 {
		t.Errorf("%d uploads given up", n)
	}
}

func TestUploadOnce(t *testing.T) {
	s := registrytest.New(t)
	c := client(t, registry.Options{})
	l := newBlob(t, []byte("content"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := pusher(t, c, s.Ref("app:1")).Upload(t.Context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if h, p := s.Count(http.MethodHead, "/blobs/"), s.Count(http.MethodPost, ""); h != 1 || p != 1 {
		t.Errorf("%d questions, %d uploads", h, p)
	}
}

func TestMount(t *testing.T) {
	content := newBlob(t, []byte("content"))
	closed := content
	closed.open = func() (io.ReadCloser, error) { return nil, errors.New("nobody should read it") }
	for name, tt := range map[string]struct {
		layer  func(s *registrytest.Server) v1.Layer
		fault  registrytest.Fault
		mounts int
		sent   bool
	}{
		"told": {func(s *registrytest.Server) v1.Layer {
			return &registry.MountLayer{Layer: closed, Repository: s.Ref("base")}
		}, registrytest.Fault{}, 1, false},
		"seen":           {func(*registrytest.Server) v1.Layer { return closed }, registrytest.Fault{}, 1, false},
		"other registry": {func(*registrytest.Server) v1.Layer { return &registry.MountLayer{Layer: closed, Repository: "r.io/x"} }, registrytest.Fault{}, 1, false},
		"not there": {func(s *registrytest.Server) v1.Layer {
			return &registry.MountLayer{Layer: content, Repository: s.Ref("none")}
		}, registrytest.Fault{}, 1, true},
		"forbidden": {
			func(s *registrytest.Server) v1.Layer {
				return &registry.MountLayer{Layer: content, Repository: s.Ref("base")}
			},
			registrytest.Fault{Method: http.MethodPost, Times: 1, Status: http.StatusForbidden},
			1, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			c := client(t, registry.Options{})
			if err := pusher(t, c, s.Ref("base:1")).Upload(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			s.Forget()
			if tt.fault.Status != 0 {
				s.Fail(tt.fault)
			}
			if err := pusher(t, c, s.Ref("app:1")).Upload(t.Context(), tt.layer(s)); err != nil {
				t.Fatal(err)
			}
			mounts := 0
			for _, r := range s.Requests() {
				if strings.Contains(r.Query, "mount=") {
					mounts++
				}
			}
			if sent := s.Count(http.MethodPut, "") == 1; mounts != tt.mounts || sent != tt.sent {
				t.Errorf("%d mounts, sent %v", mounts, sent)
			}
			if string(s.Blob("app", content.digest)) != "content" {
				t.Error("the blob is not there")
			}
		})
	}
}

func TestMountAsksForTheRight(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "base:1", registrytest.Image(t, "linux/amd64"))
	s.Require(registrytest.Auth{User: "u", Password: "p", Bearer: true})
	c := client(t, registry.Options{Keychain: keys{s.Host: {Username: "u", Password: "p"}}})
	base, err := c.Image(t.Context(), s.Ref("base:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Forget()
	l := blob{digest: base.Layers[0].Descriptor.Digest}
	if err := pusher(t, c, s.Ref("app:1")).Upload(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	asked := ""
	for _, r := range s.Requests() {
		if r.Path == "/token" {
			asked += r.Query
		}
	}
	if !strings.Contains(asked, "repository%3Abase%3Apull") {
		t.Errorf("tokens asked for: %s", asked)
	}
}

func TestUploadRestarts(t *testing.T) {
	unknown := `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"?"}]}`
	for name, f := range map[string]registrytest.Fault{
		"503 at the end": {Method: http.MethodPut, Status: 503},
		"429 at the end": {Method: http.MethodPut, Status: 429, Header: http.Header{"Retry-After": {"1"}}},
		"upload unknown": {Method: http.MethodPut, Status: 404, Body: unknown},
		"no answer":      {Method: http.MethodPut, Lose: true},
		"503 at first":   {Method: http.MethodPost, Status: 503},
		"503 asked":      {Method: http.MethodHead, Status: 503},
		"not to be seen": {Method: http.MethodHead, Status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := registrytest.New(t)
			f.Path, f.Times = "/blobs/", 1
			s.Fail(f)
			l := newBlob(t, bytes.Repeat([]byte("content "), 100000))
			if err := pusher(t, client(t, registry.Options{}), s.Ref("app:1")).Upload(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.Blob("app", l.digest), l.content) {
				t.Error("other bytes came")
			}
		})
	}
}

func TestUploadFails(t *testing.T) {
	s := registrytest.New(t)
	p := pusher(t, client(t, registry.Options{}), s.Ref("app:1"))
	l := newBlob(t, []byte("content"))
	broken := errors.New("disk on fire")
	l.open = func() (io.ReadCloser, error) { return nil, broken }
	if err := p.Upload(t.Context(), l); !errors.Is(err, broken) || errors.Is(err, registry.ErrUnavailable) {
		t.Error(err)
	}
	if n := s.Count(http.MethodPut, ""); n > 1 {
		t.Errorf("sent %d times", n)
	}
	l.open = nil
	if err := p.Upload(t.Context(), l); err != nil {
		t.Errorf("a second try: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Upload(ctx, newBlob(t, []byte("other"))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Fail(registrytest.Fault{Method: http.MethodPost, Status: http.StatusAccepted, Header: http.Header{"Location": {"ftp://x/y"}}})
	if err := p.Upload(t.Context(), newBlob(t, []byte("third"))); err == nil || !strings.Contains(err.Error(), "ftp") {
		t.Error(err)
	}
}

func TestManifestStoredThoughTheAnswerWasLost(t *testing.T) {
	s := registrytest.New(t)
	s.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Lose: true})
	img := registrytest.Image(t, "linux/amd64")
	if _, err := pusher(t, client(t, registry.Options{Retries: 1}), s.Ref("app:1")).Push(t.Context(), img); err != nil {
		t.Fatal(err)
	}
}

func TestBlobsNotSeenYet(t *testing.T) {
	s := registrytest.New(t)
	s.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Times: 2, Status: 404, Body: `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"?"}]}`})
	if _, err := pusher(t, client(t, registry.Options{}), s.Ref("app:1")).Push(t.Context(), registrytest.Image(t, "linux/amd64")); err != nil {
		t.Fatal(err)
	}
}

func TestBlobsOfAnAmendmentNotSeenYet(t *testing.T) {
	s := registrytest.New(t)
	img := registrytest.Image(t, "linux/amd64")
	s.Push(t, "app:1", img)
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mt, err := img.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	s.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Times: 2, Status: 400, Body: `{"errors":[{"code":"DIGEST_INVALID","message":"?"},{"code":"MANIFEST_BLOB_UNKNOWN","message":"?"}]}`})
	_, err = pusher(t, client(t, registry.Options{}), s.Ref("app:2")).Amend(t.Context(), func(old *registry.Document) (remote.Taggable, error) {
		if old != nil {
			return nil, nil
		}
		return registry.Manifest{Type: mt, Raw: raw}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImmutableTag(t *testing.T) {
	s := registrytest.New(t)
	s.Push(t, "app:1", registrytest.Image(t, "linux/amd64"))
	s.Fail(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Status: 400, Body: `{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists and cannot be overwritten because the tag is immutable."}]}`})
	_, err := pusher(t, client(t, registry.Options{}), s.Ref("app:1")).Push(t.Context(), registrytest.Image(t, "linux/amd64"))
	if !errors.Is(err, registry.ErrImmutable) {
		t.Error(err)
	}
}

func TestPushReferrer(t *testing.T) {
	for _, native := range []bool{true, false} {
		s := registrytest.New(t)
		p := pusher(t, client(t, registry.Options{}), s.Ref("app:1"))
		img := registrytest.Image(t, "linux/amd64")
		h, err := p.Push(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		if !native {
			s.Fail(registrytest.Fault{Path: "/referrers/", Status: 404})
		}
		m, _ := img.Manifest()
		ref := mutate.Subject(mutate.MediaType(registrytest.Image(t, "linux/amd64"), types.OCIManifestSchema1),
			v1.Descriptor{MediaType: m.MediaType, Digest: h, Size: 1}).(v1.Image)
		if _, err := p.PushByDigest(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		tagged := s.Count(http.MethodPut, "/manifests/sha256-"+h.Hex) == 1
		if tagged == native {
			t.Errorf("native %v: fallback tag %v", native, tagged)
		}
	}
}

func TestNondistributableStaysWhereItIs(t *testing.T) {
	s := registrytest.New(t)
	l := restricted{newBlob(t, []byte("windows"))}
	if err := pusher(t, client(t, registry.Options{}), s.Ref("app:1")).Upload(t.Context(), l); err != nil || len(s.Requests()) > 0 {
		t.Error(err, s.Requests())
	}
}

type restricted struct{ blob }

func (restricted) MediaType() (types.MediaType, error) { return types.DockerForeignLayer, nil }
