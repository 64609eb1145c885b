package build_test

import (
	"context"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/stepcache"
	"github.com/strake-build/strake/shared/store"
)

// repository is a cache in the bed's registry, with a client of its own, as every
// build has.
func (b *bed) repository(t *testing.T, name string) *cache.Repository {
	t.Helper()
	client, err := registry.New(registry.Options{Retries: -1})
	must(t, err)
	repo, err := client.Repository(b.Ref(name))
	must(t, err)
	return &cache.Repository{Repository: repo}
}

func directory(t *testing.T, dir string) *cache.Directory {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	must(t, err)
	return &cache.Directory{Store: s}
}

// cached builds with a cache and says what became of the steps, after the result
// is closed. The image is made before that; its digest is the answer's.
func (b *bed) cached(ctx context.Context, t *testing.T, req build.Request, l cache.Layers) (digests string, steps []stepcache.Outcome) {
	t.Helper()
	req.Cache.Lookup, req.Cache.Store = l, l
	req.Cache.Explain = func(o []stepcache.Outcome) { steps = o }
	res, err := b.builder(t).Run(ctx, req)
	must(t, err)
	digests = digest(t, res.Artifact)
	must(t, res.Close())
	return digests, steps
}

// marks writes an outcome as a letter: hit, content hit, unneeded, miss.
func marks(steps []stepcache.Outcome) string {
	out := make([]byte, 0, len(steps))
	for _, o := range steps {
		switch {
		case o.Unneeded && o.Hit:
			out = append(out, 'u')
		case o.Unneeded:
			out = append(out, '-')
		case o.By == "content":
			out = append(out, 'c')
		case o.Hit:
			out = append(out, 'h')
		default:
			out = append(out, 'M')
		}
	}
	return string(out)
}

func TestCache(t *testing.T) {
	for name, place := range map[string]func(*testing.T, *bed) cache.Layers{
		"repository": func(t *testing.T, b *bed) cache.Layers { return b.repository(t, "cache/layers") },
		"directory":  func(t *testing.T, _ *bed) cache.Layers { return directory(t, t.TempDir()) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			l := place(t, b)
			req := b.request(t, "FROM %[1]s AS made\nRUN echo 1 >/a\nRUN echo 2 >/b\nFROM %[1]s\nWORKDIR /w\nCOPY file .\nCOPY --from=made /b /b\nRUN cat file >c\n")
			req.Reproducible = true
			first, steps := b.cached(t.Context(), t, req, l)
			if got := marks(steps); got != "MMMMMM" {
				t.Errorf("first build: %s %+v", got, steps)
			}
			b.Forget()
			again, steps := b.cached(t.Context(), t, req, l)
			if got := marks(steps); got != "uuuuuh" {
				t.Errorf("second build: %s %+v", got, steps)
			}
			if first != again {
				t.Errorf("the image is %s, was %s", again, first)
			}
			if n := b.Count("GET", "/blobs/sha256"); n != 1 { // the base image's config
				t.Errorf("%d blobs were fetched: %+v", n, b.Requests())
			}
		})
	}
}

// TestCacheClocks has builders whose clocks are years off: no result stays young for
// ever, and the next build with a right clock mends it.
func TestCacheClocks(t *testing.T) {
	b := newBed(t)
	l := directory(t, t.TempDir())
	right := time.Unix(1.7e9, 0)
	run := func(now time.Time) string {
		req := b.request(t, "FROM %s\nRUN echo x >/x\n")
		req.Cache = build.Cache{Lookup: l, Store: l, TTL: 24 * time.Hour}
		var steps []stepcache.Outcome
		req.Cache.Explain = func(o []stepcache.Outcome) { steps = o }
		builder := b.builder(t)
		builder.Now = func() time.Time { return now }
		res, err := builder.Run(t.Context(), req)
		must(t, err)
		must(t, res.Close())
		return marks(steps)
	}
	for _, c := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"first", right.AddDate(3, 0, 0), "M"},
		{"its result is from the future", right, "M"},
		{"mended", right.Add(time.Hour), "h"},
		{"in 1970", time.Unix(0, 0), "M"},
		{"after that", right.Add(time.Hour), "M"},
		{"mended again", right.Add(2 * time.Hour), "h"},
		{"a clock a minute slow", right.Add(time.Hour - time.Minute), "h"},
		{"old", right.Add(26 * time.Hour), "M"},
	} {
		if got := run(c.now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
