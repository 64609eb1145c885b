// Package cachetest holds the contract of cache.Layers, as tests that every way of keeping entries passes.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/layer"
)

// Key makes a key out of a letter or digit of hexadecimal.
func Key(c string) cache.Key { return cache.Key(strings.Repeat(c, 64)) }

// Layer is a layer with these bytes, which are no tar.
func Layer(content string) cache.Layer {
	digest, size, err := v1.SHA256(strings.NewReader(content))
	if err != nil {
		panic(err)
	}
	diffID, _, err := v1.SHA256(strings.NewReader("tar of " + content))
	if err != nil {
		panic(err)
	}
	return cache.Layer{
		Blob: layer.Blob{
			Digest: digest, Size: size, DiffID: diffID, MediaType: types.OCILayer,
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
		},
		Content: "content of " + content,
	}
}

// Entry is a result of layers with these bytes.
func Entry(k cache.Key, contents ...string) *cache.Entry {
	e := &cache.Entry{
		Key: k, Step: "[build 2/5] RUN make", Platform: "linux/arm64/v8", Builder: "1.2.3",
		Created: time.Unix(1.7e9, 0).UTC(), Took: 1500 * time.Millisecond, Base: []v1.Hash{Layer("base").DiffID}, Own: min(1, len(contents)),
	}
	for _, c := range contents {
		e.Layers = append(e.Layers, Layer(c))
	}
	return e
}

// Test runs the contract. open opens one empty place; the second time, the same
// one as another process would.
func Test(t *testing.T, open func(t *testing.T) func() cache.Layers) {
	t.Run("an entry comes back as it was put", func(t *testing.T) { roundTrip(t, open(t)) })
	t.Run("nothing is a miss", func(t *testing.T) { miss(t, open(t)()) })
	t.Run("the last one counts", func(t *testing.T) { last(t, open(t)) })
	t.Run("a result without layers", func(t *testing.T) { none(t, open(t)) })
	t.Run("layers that cannot be read make no entry", func(t *testing.T) { unreadable(t, open(t)()) })
	t.Run("many at once", func(t *testing.T) { atOnce(t, open(t)) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, open(t)()) })
}

func roundTrip(t *testing.T, open func() cache.Layers) {
	want := Entry(Key("a"), "one", "two")
	must(t, open().Put(t.Context(), want))
	got, err := open().Get(t.Context(), want.Key)
	must(t, err)
	if got.Step != want.Step || got.Platform != want.Platform || got.Builder != want.Builder || !got.Created.Equal(want.Created) ||
		got.Took != want.Took || got.Own != want.Own || fmt.Sprint(got.Base) != fmt.Sprint(want.Base) || got.Key != want.Key {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(got.Layers) != 2 {
		t.Fatalf("%d layers", len(got.Layers))
	}
	for i, l := range got.Layers {
		w := want.Layers[i]
		if l.Digest != w.Digest || l.Size != w.Size || l.DiffID != w.DiffID || l.MediaType != w.MediaType || l.Content != w.Content {
			t.Errorf("layer %d is %+v, want %+v", i, l, w)
		}
		for range 2 { // any number of times
			if a, b := read(t, l), read(t, w); !bytes.Equal(a, b) {
				t.Errorf("layer %d reads %q, want %q", i, a, b)
			}
		}
	}
}

func read(t *testing.T, l cache.Layer) []byte {
	t.Helper()
	r, err := l.Open()
	must(t, err)
	b, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	return b
}

func miss(t *testing.T, l cache.Layers) {
	must(t, l.Put(t.Context(), Entry(Key("a"), "one")))
	if e, err := l.Get(t.Context(), Key("b")); !errors.Is(err, cache.ErrMiss) || e != nil {
		t.Errorf("got %v, %v", e, err)
	}
}

func last(t *testing.T, open func() cache.Layers) {
	must(t, open().Put(t.Context(), Entry(Key("a"), "one")))
	must(t, open().Put(t.Context(), Entry(Key("a"), "two", "three")))
	e, err := open().Get(t.Context(), Key("a"))
	must(t, err)
	if len(e.Layers) != 2 || string(read(t, e.Layers[0])) != "two" {
		t.Errorf("got %+v", e)
	}
}

func none(t *testing.T, open func() cache.Layers) {
	must(t, open().Put(t.Context(), Entry(Key("a"))))
	e, err := open().Get(t.Context(), Key("a"))
	must(t, err)
	if len(e.Layers) != 0 || e.Size() != 0 {
		t.Errorf("got %+v", e)
	}
}

func unreadable(t *testing.T, l cache.Layers) {
	for name, open := range map[string]func() (io.ReadCloser, error){
		"refused":   func() (io.ReadCloser, error) { return nil, errors.New("refused") },
		"others":    func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("xxx")), nil },
		"truncated": func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("on")), nil },
	} {
		e := Entry(Key("c"), "one")
		e.Layers[0].Open = open
		if err := l.Put(t.Context(), e); err == nil {
			t.Errorf("%s: put", name)
		}
		if _, err := l.Get(t.Context(), e.Key); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// atOnce puts and gets the same keys from many sides: every entry that is found
// is whole.
func atOnce(t *testing.T, open func() cache.Layers) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l := open()
			for n := range 6 {
				k := Key(string("abc"[(i+n)%3]))
				if err := l.Put(t.Context(), Entry(k, "shared", fmt.Sprint("own ", i, n))); err != nil {
					t.Error(err)
					return
				}
				e, err := l.Get(t.Context(), k)
				if err != nil {
					t.Error(err)
					return
				}
				for _, y := range e.Layers {
					r, err := y.Open()
					if err == nil {
						_, err = io.Copy(io.Discard, r)
						err = errors.Join(err, r.Close())
					}
					if err != nil {
						t.Errorf("layer of an entry that was found: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func cancelled(t *testing.T, l cache.Layers) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Put(ctx, Entry(Key("a"), "one")); err == nil {
		t.Error("put though cancelled")
	}
	if _, err := l.Get(t.Context(), Key("a")); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("got %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
