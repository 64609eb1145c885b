package warmed_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warmed"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var now = time.Unix(1.7e9, 0)

// bed is a registry with "base:1", and a directory in which it is warmed.
type bed struct {
	*registrytest.Server
	*warmed.Images
	client  *registry.Client
	notices []string
	layer   v1.Descriptor
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{Server: registrytest.New(t)}
	b.Push(t, "base:1", registrytest.Image(t, "linux/amd64"))
	var err error
	b.client, err = registry.New(registry.Options{Retries: -1})
	must(t, err)
	s, err := store.Open(filepath.Join(t.TempDir(), "cache"), store.Options{})
	must(t, err)
	img, err := b.client.Image(t.Context(), b.Ref("base:1"), &amd64)
	must(t, err)
	for _, raw := range [][]byte{img.RawManifest, img.RawConfig} {
		_, err := s.PutBytes(t.Context(), raw)
		must(t, err)
	}
	for _, l := range img.Layers {
		b.layer = l.Descriptor
		_, err := s.Put(t.Context(), l.Descriptor, l.Open)
		must(t, err)
	}
	must(t, s.SetRef(store.Record{Ref: b.Ref("base:1"), Root: img.Root, ResolvedAt: now}))
	b.client, err = registry.New(registry.Options{Retries: -1}) // one that remembers nothing
	must(t, err)
	b.Images = &warmed.Images{
		Store: s, Registry: b.client, TTL: time.Hour, Now: func() time.Time { return now },
		Notice: func(l string) { b.notices = append(b.notices, l) },
	}
	b.Forget()
	return b
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

func read(img *registry.Image) error {
	for _, l := range img.Layers {
		r, err := l.Open(context.Background())
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// TestImages resolves by tags of all ages, with a registry that answers, one that
// does not, and none.
func TestImages(t *testing.T) {
	const asked, told = 1, 2
	for _, c := range []struct {
		name    string
		age     time.Duration
		down    bool
		offline bool
		want    int
	}{
		{"young", time.Minute, false, false, 0},
		{"old", 2 * time.Hour, false, false, asked},
		{"old, nobody answers", 2 * time.Hour, true, false, asked | told},
		{"old, nobody may be asked", 2 * time.Hour, false, true, told},
		{"by a clock years fast", -3e4 * time.Hour, false, false, asked},
		{"by a clock years fast, nobody answers", -3e4 * time.Hour, true, false, asked | told},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t)
			if c.down {
				b.Fail(registrytest.Fault{Status: http.StatusServiceUnavailable})
			}
			if c.offline {
				b.Registry = nil
			}
			b.Now = func() time.Time { return now.Add(c.age) }
			img, err := b.Images.Image(t.Context(), b.Ref("base:1"), &amd64)
			must(t, err)
			if got := len(b.Requests()) > 0; got != (c.want&asked != 0) {
				t.Errorf("asked: %t", got)
			}
			if got := len(b.notices) > 0; got != (c.want&told != 0) {
				t.Errorf("told: %q", b.notices)
			}
			b.Forget()
			if err := read(img); err != nil || b.Count("GET", "/blobs/") > 0 {
				t.Errorf("layers: %v; %d were fetched", err, b.Count("GET", "/blobs/"))
			}
			byDigest := strings.TrimSuffix(b.Ref("base:1"), ":1") + "@" + img.Root.Digest.String()
			if _, err := b.Images.Image(t.Context(), byDigest, &amd64); err != nil || len(b.Requests()) > 0 {
				t.Errorf("by digest: %v; %d requests", err, len(b.Requests()))
			}
		})
	}
}

// TestImagesDamaged has layers that are not what they were: they come from the
// registry, and without one there is an error, but no wrong byte.
func TestImagesDamaged(t *testing.T) {
	for name, harm := range map[string]func(p string) error{
		"cut off": func(p string) error { return os.Truncate(p, 10) },
		"altered": func(p string) error {
			raw, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			raw[len(raw)/2] ^= 1
			return os.WriteFile(p, raw, 0o644)
		},
		"gone": os.Remove,
	} {
		for _, offline := range []bool{false, true} {
			b := newBed(t)
			if offline {
				b.Registry = nil
			}
			p := filepath.Join(b.Store.Path(), "blobs", "sha256", b.layer.Digest.Hex)
			must(t, os.Chmod(p, 0o644))
			must(t, harm(p))
			img, err := b.Images.Image(t.Context(), b.Ref("base:1"), &amd64)
			if err == nil {
				err = read(img)
			}
			if offline == (err == nil) {
				t.Errorf("%s, offline %t: %v", name, offline, err)
			}
			if err != nil && !errors.Is(err, registry.ErrNotFound) && !errors.Is(err, store.ErrIntegrity) {
				t.Errorf("%s: %v is of no class", name, err)
			}
		}
	}
}

// TestMissing lists all that is missing, each once, with the command for it.
func TestMissing(t *testing.T) {
	b := newBed(t)
	b.Registry = nil
	find := func(ref string, p v1.Platform) *warmed.MissingError {
		_, err := b.Images.Image(t.Context(), ref, &p)
		m, ok := errors.AsType[*warmed.MissingError](err)
		if !ok || !errors.Is(err, registry.ErrNotFound) {
			t.Fatalf("%s: %v", ref, err)
		}
		return m
	}
	one := find(b.Ref("never:1"), amd64)
	all := one.Join(find(b.Ref("never:1"), amd64), find(b.Ref("never:2"), amd64), &warmed.MissingError{Fetched: []string{"https://a/b", "https://a/b"}})
	if len(all.Images) != 2 || len(all.Fetched) != 1 {
		t.Errorf("got %+v", all)
	}
	if want := "warmer --cache-dir " + b.Store.Path() + " --platform linux/amd64 --image " + b.Ref("never:1") + " --image " + b.Ref("never:2"); all.Command() != want || !strings.Contains(all.Error(), want) {
		t.Errorf("got %s, want %s", all.Command(), want)
	}
	alone := &warmed.MissingError{Fetched: []string{"https://a/b"}}
	if s := alone.Error(); strings.Contains(s, "--image") || !strings.Contains(s, "https://a/b") {
		t.Errorf("without images it says %s", s)
	}
}

// TestLock reads back what was written, and nothing else.
func TestLock(t *testing.T) {
	l := warmed.NewLock()
	l.Images["docker.io/library/alpine:3"] = warmed.Locked{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}}
	path := filepath.Join(t.TempDir(), "lock")
	must(t, l.Write(path))
	got, err := warmed.ReadLock(path)
	must(t, err)
	if errs := warmed.Drift(l, got); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := warmed.Drift(l, warmed.NewLock()); len(errs) != 1 {
		t.Errorf("drift: %v", errs)
	}
	raw, err := os.ReadFile(path)
	must(t, err)
	for _, bad := range []string{
		"", "{", "[]", string(raw[:len(raw)/2]),
		strings.Replace(string(raw), `"version": 1`, `"version": 2`, 1),
		strings.Replace(string(raw), "docker.io/library/alpine:3", "alpine", 1),
		strings.Replace(string(raw), "sha256:", "md5:", 1),
		strings.Replace(string(raw), `"images"`, `"imagse"`, 1),
	} {
		must(t, os.WriteFile(path, []byte(bad), 0o600))
		if _, err := warmed.ReadLock(path); err == nil {
			t.Errorf("read %q", bad)
		}
	}
}

// TestPinned resolves a tag as the lock has it, and nothing that it lacks.
func TestPinned(t *testing.T) {
	b := newBed(t)
	was, err := b.client.Image(t.Context(), b.Ref("base:1"), &amd64)
	must(t, err)
	l := warmed.NewLock()
	l.Images[b.Ref("base:1")] = warmed.Locked{Digest: was.Root.Digest}
	b.Push(t, "base:1", registrytest.Image(t, "linux/amd64"))
	p := &warmed.Pinned{Lock: l, Next: b.Images}
	img, err := p.Image(t.Context(), b.Ref("base:1"), &amd64)
	must(t, err)
	if img.Root.Digest != was.Root.Digest {
		t.Errorf("it is %s, the lock says %s", img.Root.Digest, was.Root.Digest)
	}
	other := b.Ref("base:1") + "@sha256:" + strings.Repeat("0", 64)
	for _, ref := range []string{b.Ref("base:2"), other} {
		if _, err := p.Image(t.Context(), ref, &amd64); err == nil {
			t.Errorf("%s was resolved", ref)
		} else if _, ok := errors.AsType[*warmed.DriftError](err); !ok {
			t.Errorf("%s: %v", ref, err)
		}
	}
}
