package warm_test

import (
	"bytes"
	"context"
	"errors"
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
	"github.com/strake-build/strake/shared/warm"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bed is a registry with an index of two platforms and an image, and a store.
type bed struct {
	*registrytest.Server
	*warm.Warmer
	now time.Time
}

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{Server: registrytest.New(t), now: time.Unix(1.7e9, 0)}
	b.Push(t, "base:1", registrytest.Index(t, registrytest.Image(t, "linux/amd64"), registrytest.Image(t, "linux/arm64")))
	b.Push(t, "tools:1", registrytest.Image(t, "linux/amd64"))
	s, err := store.Open(filepath.Join(t.TempDir(), "cache"), store.Options{})
	must(t, err)
	b.Warmer = &warm.Warmer{Store: s, TTL: time.Hour, Now: func() time.Time { return b.now }}
	return b
}

// warm warms, and wants all to be well.
func (b *bed) warm(t *testing.T, images ...warm.Image) []warm.Result {
	t.Helper()
	b.Forget()
	var err error
	b.Registry, err = registry.New(registry.Options{Retries: -1}) // which remembers nothing
	must(t, err)
	res, err := b.Warm(t.Context(), images)
	must(t, err)
	for _, r := range res {
		must(t, r.Err)
	}
	return res
}

func (b *bed) image(ref string, p ...v1.Platform) warm.Image {
	return warm.Image{Ref: b.Ref(ref), Platforms: p}
}

// blobs is how many blobs were asked for.
func (b *bed) blobs() int { return b.Count("GET", "/blobs/") }

// TestWarmOnce fetches each blob once, whoever wants it, and asks nobody again as long
// as a tag is young. A tag from the future is an old one.
func TestWarmOnce(t *testing.T) {
	b := newBed(t)
	b.Push(t, "same:1", b.Image(t, "tools:1"))
	res := b.warm(t, b.image("base:1", amd64), b.image("base:1", arm64), b.image("tools:1", amd64), b.image("same:1", amd64))
	if len(res) != 3 || len(res[0].Platforms) != 2 || res[0].Fetched == 0 {
		t.Errorf("got %+v", res)
	}
	if n := b.blobs(); n > 3*3+1 { // a config and two layers of each, and the config of what is the same again
		t.Errorf("%d blobs were asked for", n)
	}
	for _, c := range []struct {
		name  string
		later time.Duration
		asked bool
	}{{"young", time.Minute, false}, {"old", 2 * time.Hour, true}, {"from the future", -1e4 * time.Hour, true}} {
		b.now = time.Unix(1.7e9, 0).Add(c.later)
		res := b.warm(t, b.image("base:1", amd64))
		if asked := len(b.Requests()) > 0; asked != c.asked || res[0].Fresh == asked {
			t.Errorf("%s: asked %t; %+v", c.name, asked, res[0])
		}
		if b.blobs() > 1 { // the config
			t.Errorf("%s: layers were fetched again", c.name)
		}
	}
}

// TestWarmTagMoves takes what a tag names now, and keeps what it was until nobody
// wants that.
func TestWarmTagMoves(t *testing.T) {
	b := newBed(t)
	before := b.warm(t, b.image("tools:1", amd64))[0].Digest
	moved := b.Push(t, "tools:1", registrytest.WithPlatform(t, registrytest.Image(t, "linux/amd64"), "linux/amd64"))
	b.now = b.now.Add(2 * time.Hour)
	if after := b.warm(t, b.image("tools:1", amd64))[0].Digest; after != moved {
		t.Errorf("warmed %s, it is %s now and was %s", after, moved, before)
	}
	if !b.Store.Has(v1.Descriptor{Digest: before}) {
		t.Error("what it was is gone")
	}
}

// TestWarmHeals replaces what is damaged or gone, without being asked.
func TestWarmHeals(t *testing.T) {
	for name, harm := range map[string]func(p string) error{
		"cut off": func(p string) error { return os.Truncate(p, 3) },
		"gone":    os.Remove,
		"empty":   func(p string) error { return os.Truncate(p, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.warm(t, b.image("tools:1", amd64))
			blobs, err := filepath.Glob(filepath.Join(b.Store.Path(), "blobs", "sha256", "*"))
			must(t, err)
			for _, p := range blobs {
				must(t, os.Chmod(p, 0o644))
				must(t, harm(p))
			}
			b.warm(t, b.image("tools:1", amd64))
			if _, bad, err := warm.Verify(t.Context(), b.Store); err != nil || len(bad) > 0 {
				t.Errorf("still damaged: %v, %v", bad, err)
			}
		})
	}
}

// TestWarmFails says what is wrong with one image, and warms the others.
func TestWarmFails(t *testing.T) {
	b := newBed(t)
	b.warm(t)
	b.Fail(registrytest.Fault{Path: "/tools/blobs/", Status: http.StatusServiceUnavailable})
	res, err := b.Warm(t.Context(), []warm.Image{b.image("base:1", amd64), b.image("tools:1", amd64), b.image("never:1"), b.image("base:1", v1.Platform{OS: "plan9", Architecture: "amd64"})})
	must(t, err)
	if len(res) != 3 {
		t.Fatalf("%d results", len(res))
	}
	if !errors.Is(res[0].Err, registry.ErrNoPlatform) || !errors.Is(res[1].Err, registry.ErrUnavailable) || !errors.Is(res[2].Err, registry.ErrNotFound) {
		t.Errorf("got %v\n%v\n%v", res[0].Err, res[1].Err, res[2].Err)
	}
	if _, err := b.Store.Ref(res[1].Ref); err == nil {
		t.Error("an image that is not there has a name")
	}
	b.Heal()
	b.warm(t, b.image("tools:1", amd64))
}

// TestWarmCancelled ends soon, and leaves no name behind.
func TestWarmCancelled(t *testing.T) {
	b := newBed(t)
	b.warm(t)
	b.Fail(registrytest.Fault{Path: "/blobs/", Stall: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Warm(ctx, []warm.Image{b.image("tools:1", amd64)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if refs, err := b.Store.Refs(); err != nil || len(refs) > 0 {
		t.Errorf("names: %v, %v", refs, err)
	}
}

// TestBundle carries images elsewhere: digests stay what they are, and nobody is asked.
func TestBundle(t *testing.T) {
	b, there := newBed(t), newBed(t)
	want := b.warm(t, warm.Image{Ref: b.Ref("base:1"), All: true})[0].Digest
	var bundle bytes.Buffer
	must(t, warm.Export(t.Context(), b.Store, &bundle, nil))
	raw := bytes.Clone(bundle.Bytes())
	b.Forget()
	set, stayed, err := there.Import(t.Context(), &bundle)
	must(t, err)
	if len(set) != 1 || len(stayed) > 0 || set[0].Root.Digest != want || len(b.Requests())+len(there.Requests()) > 0 {
		t.Errorf("imported %+v, stayed %+v", set, stayed)
	}
	if blobs, bad, err := warm.Verify(t.Context(), there.Store); err != nil || len(bad) > 0 || blobs < 5 {
		t.Errorf("%d blobs, damaged %v, %v", blobs, bad, err)
	}
	for _, n := range []int{0, 100, len(raw) / 2} {
		if _, _, err := newBed(t).Import(t.Context(), bytes.NewReader(raw[:n])); err == nil {
			t.Errorf("%d bytes of the bundle were taken for one", n)
		}
	}
	at := bytes.Index(raw, []byte("hello")) // in no header: in a layer, or nowhere
	if at < 0 {
		at = len(raw) / 2
	}
	raw[at] ^= 1
	other := newBed(t)
	if _, _, err := other.Import(t.Context(), bytes.NewReader(raw)); err == nil {
		if _, bad, err := warm.Verify(t.Context(), other.Store); err != nil || len(bad) > 0 {
			t.Errorf("wrong bytes were taken in: %v, %v", bad, err)
		}
	}
}

// TestFind lists what a Dockerfile asks for, and nothing else.
func TestFind(t *testing.T) {
	b := newBed(t)
	text := "ARG V=0\nFROM BASE:$V AS a\nFROM scratch\nCOPY --from=a / /\nCOPY --from=TOOLS:1 / /\nRUN --mount=from=TOOLS:1,target=/m true\n"
	text = strings.NewReplacer("BASE", b.Ref("base"), "TOOLS", b.Ref("tools")).Replace(text)
	b.warm(t)
	got, err := b.Find(t.Context(), warm.Dockerfile{Name: "Dockerfile", Content: []byte(text), BuildArgs: map[string]string{"V": "1"}, Platforms: []v1.Platform{amd64}})
	must(t, err)
	var refs []string
	for _, i := range got {
		refs = append(refs, strings.TrimPrefix(i.Ref, b.Host))
	}
	if s := strings.Join(refs, " "); s != "/base:1 /tools:1" {
		t.Errorf("found %s", s)
	}
}

// TestLock writes down what tags are.
func TestLock(t *testing.T) {
	b := newBed(t)
	b.warm(t)
	l, err := b.Lock(t.Context(), []warm.Image{b.image("base:1"), b.image("tools:1")})
	must(t, err)
	want, err := b.Image(t, "tools:1").Digest()
	must(t, err)
	if len(l.Images) != 2 || l.Images[b.Ref("tools:1")].Digest != want {
		t.Errorf("got %+v", l)
	}
}
