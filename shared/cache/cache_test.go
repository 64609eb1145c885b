package cache_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/cache/cachetest"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
	"github.com/strake-build/strake/shared/store"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func repository(t testing.TB, s *registrytest.Server) *cache.Repository {
	t.Helper()
	c, err := registry.New(registry.Options{Retries: -1})
	must(t, err)
	r, err := c.Repository(s.Ref("app/cache"))
	must(t, err)
	return &cache.Repository{Repository: r}
}

func directory(t testing.TB, dir string, o store.Options) *cache.Directory {
	t.Helper()
	s, err := store.Open(dir, o)
	must(t, err)
	return &cache.Directory{Store: s}
}

func TestRepository(t *testing.T) {
	cachetest.Test(t, func(t *testing.T) func() cache.Layers {
		s := registrytest.New(t)
		return func() cache.Layers { return repository(t, s) }
	})
}

func TestDirectory(t *testing.T) {
	cachetest.Test(t, func(t *testing.T) func() cache.Layers {
		dir := t.TempDir()
		return func() cache.Layers { return directory(t, dir, store.Options{}) }
	})
}

func TestFront(t *testing.T) {
	cachetest.Test(t, func(t *testing.T) func() cache.Layers {
		s, dir := registrytest.New(t), t.TempDir()
		return func() cache.Layers {
			return &cache.Front{Near: directory(t, dir, store.Options{}), Far: repository(t, s)}
		}
	})
}

// TestFrontReadsOnce: what was read from afar is near the next time.
func TestFrontReadsOnce(t *testing.T) {
	s := registrytest.New(t)
	must(t, repository(t, s).Put(t.Context(), cachetest.Entry(cachetest.Key("a"), "one", "two")))
	f := &cache.Front{Near: directory(t, t.TempDir(), store.Options{}), Far: repository(t, s)}
	for range 3 {
		e, err := f.Get(t.Context(), cachetest.Key("a"))
		must(t, err)
		for _, l := range e.Layers {
			r, err := l.Open()
			must(t, err)
			_, err = io.Copy(io.Discard, r)
			must(t, errors.Join(err, r.Close()))
		}
	}
	if n := s.Count("GET", "/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched", n)
	}
	s.Close()
	_, err := f.Get(t.Context(), cachetest.Key("a"))
	must(t, err)
}

// TestSeveral takes the first place in order that has an entry, whatever the others say.
func TestSeveral(t *testing.T) {
	one, two := directory(t, t.TempDir(), store.Options{}), directory(t, t.TempDir(), store.Options{})
	dead := registrytest.New(t)
	far := repository(t, dead)
	dead.Close()
	s := cache.Several{far, one, two}
	must(t, two.Put(t.Context(), cachetest.Entry(cachetest.Key("a"), "two")))
	e, err := s.Get(t.Context(), cachetest.Key("a"))
	must(t, err)
	if len(e.Layers) != 1 {
		t.Errorf("got %+v", e)
	}
	must(t, one.Put(t.Context(), cachetest.Entry(cachetest.Key("a"), "one", "more")))
	if e, err = s.Get(t.Context(), cachetest.Key("a")); err != nil || len(e.Layers) != 2 {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := s.Get(t.Context(), cachetest.Key("b")); errors.Is(err, cache.ErrMiss) || !errors.Is(err, registry.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestDamaged puts what nobody should believe under a key.
func TestDamaged(t *testing.T) {
	k := cachetest.Key("a")
	good := func() map[string]any {
		raw := `{"format":1,"key":"` + string(k) + `","step":"s","platform":"linux/amd64","builder":"b","created":"2026-01-01T00:00:00Z","seconds":1,
			"base":[],"own":1,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + strings.Repeat("1", 64) +
			`","size":5,"diffID":"sha256:` + strings.Repeat("2", 64) + `","content":"c"}]}`
		var m map[string]any
		must(t, json.Unmarshal([]byte(raw), &m))
		return m
	}
	layerOf := func(m map[string]any) map[string]any { return m["layers"].([]any)[0].(map[string]any) }
	for name, c := range map[string]struct {
		change func(m map[string]any)
		ok     bool
	}{
		"good":                {func(map[string]any) {}, true},
		"another format":      {func(m map[string]any) { m["format"] = 2 }, false},
		"another key":         {func(m map[string]any) { m["key"] = strings.Repeat("b", 64) }, false},
		"no key":              {func(m map[string]any) { delete(m, "key") }, false},
		"too many of its own": {func(m map[string]any) { m["own"] = 2 }, false},
		"less than none":      {func(m map[string]any) { m["own"] = -1 }, false},
		"no layers":           {func(m map[string]any) { m["layers"], m["own"] = nil, 0 }, false},
		"layer of no size":    {func(m map[string]any) { layerOf(m)["size"] = 0 }, false},
		"layer of another":    {func(m map[string]any) { layerOf(m)["digest"] = "sha256:" + strings.Repeat("3", 64) }, false},
		"no diff ID":          {func(m map[string]any) { delete(layerOf(m), "diffID") }, false},
		"not a digest":        {func(m map[string]any) { layerOf(m)["diffID"] = "../../etc" }, false},
		"foreign layer": {func(m map[string]any) {
			layerOf(m)["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		}, false},
		"no layer":             {func(m map[string]any) { layerOf(m)["mediaType"] = "text/plain" }, false},
		"nobody knows content": {func(m map[string]any) { layerOf(m)["content"] = "" }, false},
		"numbers for names":    {func(m map[string]any) { m["key"] = 7 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t)
			m := good()
			c.change(m)
			payload, err := json.Marshal(m)
			must(t, err)
			manifest, err := json.Marshal(map[string]any{
				"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
				"config":      map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": "sha256:" + strings.Repeat("0", 64)},
				"layers":      []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 5, "digest": "sha256:" + strings.Repeat("1", 64)}},
				"annotations": map[string]string{"build.strake.cache.entry": string(payload)},
			})
			must(t, err)
			s.PutManifest(t, "app/cache:"+k.Tag(), "application/vnd.oci.image.manifest.v1+json", manifest)
			_, err = repository(t, s).Get(t.Context(), k)
			if c.ok != (err == nil) || !c.ok && !errors.Is(err, cache.ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("images that are no entries", func(t *testing.T) {
		s := registrytest.New(t)
		s.Push(t, "app/cache:"+k.Tag(), registrytest.Image(t, "linux/amd64"))
		if _, err := repository(t, s).Get(t.Context(), k); !errors.Is(err, cache.ErrDamaged) {
			t.Errorf("got %v", err)
		}
		s.Push(t, "app/cache:"+k.Tag(), registrytest.Index(t, registrytest.Image(t, "linux/amd64")))
		if _, err := repository(t, s).Get(t.Context(), k); !errors.Is(err, cache.ErrDamaged) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLost reads layers that are gone or altered.
func TestLost(t *testing.T) {
	k := cachetest.Key("a")
	dir := t.TempDir()
	d := directory(t, dir, store.Options{})
	must(t, d.Put(t.Context(), cachetest.Entry(k, "one", "two")))
	e, err := d.Get(t.Context(), k)
	must(t, err)
	blob := func(i int) string { return filepath.Join(dir, "blobs/sha256", e.Layers[i].Digest.Hex) }
	must(t, os.WriteFile(blob(0), []byte("ONE"), 0o644))
	must(t, os.Remove(blob(1)))
	for i := range 2 {
		r, err := e.Layers[i].OpenContext(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		lost, ok := errors.AsType[*cache.LostError](err)
		if !ok || lost.Key != k || lost.Digest != e.Layers[i].Digest {
			t.Errorf("layer %d: got %v", i, err)
		}
	}
	if _, err := d.Get(t.Context(), k); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("the next build finds %v", err)
	}
	must(t, d.Put(t.Context(), cachetest.Entry(k, "one", "two")))
	list, err := d.Verify(t.Context())
	if must(t, err); len(list) > 0 {
		t.Errorf("after it was put again: %+v", list)
	}
}

func pemOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestKeys(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	pkcs8 := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return pemOf(t, "PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	for name, data := range map[string][]byte{"ECDSA": pkcs8(p256), "Ed25519": pkcs8(ed), "SEC 1": pemOf(t, "EC PRIVATE KEY", sec1, err)} {
		t.Run(name, func(t *testing.T) {
			sign, err := cache.ParseSigningKey(data)
			must(t, err)
			public, err := sign.Public()
			must(t, err)
			verify, err := cache.ParseVerifyingKey(public)
			must(t, err)
			signed(t, sign, verify)
		})
	}
	for name, data := range map[string][]byte{
		"RSA": pkcs8(rsaKey), "nothing": nil, "encrypted": pemOf(t, "ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x"), nil), "broken": pemOf(t, "PRIVATE KEY", []byte("x"), nil),
	} {
		if _, err := cache.ParseSigningKey(data); err == nil {
			t.Errorf("%s: taken as a signing key", name)
		}
		if _, err := cache.ParseVerifyingKey(data); err == nil {
			t.Errorf("%s: taken as a verifying key", name)
		}
	}
}

// signed puts an entry with a signature, and alters it.
func signed(t *testing.T, sign *cache.SigningKey, verify *cache.VerifyingKey) {
	t.Helper()
	s := registrytest.New(t)
	k := cachetest.Key("a")
	writer, reader := repository(t, s), repository(t, s)
	reader.Keys.Verify = []*cache.VerifyingKey{verify}
	must(t, writer.Put(t.Context(), cachetest.Entry(k, "one")))
	if _, err := reader.Get(t.Context(), k); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("without a signature: %v", err)
	}
	writer.Keys.Sign = sign
	must(t, writer.Put(t.Context(), cachetest.Entry(k, "two")))
	e, err := reader.Get(t.Context(), k)
	must(t, err)
	// What was signed stays signed in another place.
	d := directory(t, t.TempDir(), store.Options{})
	d.Keys.Verify = reader.Keys.Verify
	must(t, d.Put(t.Context(), e))
	_, err = d.Get(t.Context(), k)
	must(t, err)
	// Another step's entry, signed by the same key, under this key.
	e.Key = cachetest.Key("b")
	if err := d.Put(t.Context(), e); err == nil {
		if _, err := d.Get(t.Context(), e.Key); !errors.Is(err, cache.ErrDamaged) {
			t.Errorf("renamed: %v", err)
		}
	}
	raw, err := s.Image(t, "app/cache:"+k.Tag()).RawManifest()
	must(t, err)
	s.PutManifest(t, "app/cache:"+k.Tag(), "application/vnd.oci.image.manifest.v1+json", []byte(strings.Replace(string(raw), "RUN make", "RUN evil", 1)))
	if _, err := reader.Get(t.Context(), k); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("altered: %v", err)
	}
}

// TestNoSpace has the disk full at every step of writing an entry: what is found
// afterwards is whole, and the next Put heals.
func TestNoSpace(t *testing.T) {
	k := cachetest.Key("a")
	for at := 0; ; at++ {
		dir := t.TempDir()
		d := directory(t, dir, store.Options{})
		must(t, d.Put(t.Context(), cachetest.Entry(k, "old")))
		var mu sync.Mutex
		n, hit := 0, false
		full := directory(t, dir, store.Options{Fault: func(string, string) error {
			mu.Lock()
			defer mu.Unlock()
			n++
			if n > at {
				hit = true
				return syscall.ENOSPC
			}
			return nil
		}})
		err := full.Put(t.Context(), cachetest.Entry(k, "new", "layers"))
		e, gerr := d.Get(t.Context(), k)
		if gerr != nil || len(e.Layers) != 1 && len(e.Layers) != 2 || err == nil && len(e.Layers) != 2 {
			t.Errorf("full at step %d: Put %v, then Get %v", at, err, gerr)
		}
		must(t, d.Put(t.Context(), cachetest.Entry(k, "new", "layers")))
		if list, err := d.Verify(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("full at step %d: %+v, %v", at, list, err)
		}
		if !hit {
			return
		}
	}
}

func TestCollect(t *testing.T) {
	for name, open := range map[string]func(*testing.T) cache.Place{
		"repository": func(t *testing.T) cache.Place { return repository(t, registrytest.New(t)) },
		"directory":  func(t *testing.T) cache.Place { return directory(t, t.TempDir(), store.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			now := time.Now()
			for i, c := range []string{"a", "b", "c"} {
				e := cachetest.Entry(cachetest.Key(c), "shared", strings.Repeat(c, 1000))
				e.Step = "[" + c + " 1/1]"
				e.Created = now.Add(time.Duration(i-3) * time.Hour)
				must(t, p.Put(t.Context(), e))
			}
			steps := func() (s string) {
				list, err := p.List(t.Context())
				must(t, err)
				for _, i := range list {
					s += i.Step[1:2]
				}
				return s
			}
			if got := steps(); got != "abc" {
				t.Errorf("listed %s", got)
			}
			_, err := p.Collect(t.Context(), cache.Policy{MaxAge: 24 * time.Hour, MaxSize: 1 << 20})
			if must(t, err); steps() != "abc" {
				t.Errorf("young and small, and left is %s", steps())
			}
			time.Sleep(100 * time.Millisecond) // the volume's clock is a coarse one
			_, err = p.Collect(t.Context(), cache.Policy{MaxAge: 10 * time.Millisecond, DryRun: true})
			if must(t, err); steps() != "abc" {
				t.Errorf("only said, and left is %s", steps())
			}
			_, err = p.Collect(t.Context(), cache.Policy{MaxAge: 10 * time.Millisecond, Keep: []string{"[b"}})
			if must(t, err); steps() != "b" {
				t.Errorf("one is to be kept, and left is %s", steps())
			}
			e, err := p.Get(t.Context(), cachetest.Key("b"))
			must(t, err)
			r, err := e.Layers[0].OpenContext(context.Background())
			must(t, err)
			_, err = io.Copy(io.Discard, r)
			must(t, errors.Join(err, r.Close()))
		})
	}
}
