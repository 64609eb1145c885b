package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/docker/go-units"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/framed"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/snapshot"
	"github.com/strake-build/strake/shared/version"
)

// CacheMounts has the directories of cache mounts kept in a cache, each as one
// layer, for builders that keep nothing themselves. The zero value does not.
type CacheMounts struct {
	// Lookup and Store may be nil.
	Lookup, Store cache.Layers
	// MaxSize is how large a directory's layer may be as a blob, where more than 0.
	// A larger one is not kept.
	MaxSize int64
}

// mounts are the cache mounts of one build.
type mounts struct {
	CacheMounts
	e      *engine
	caches *run.Caches

	mu   sync.Mutex
	were map[string]string // the content that directories came with, by name
}

// caches makes the directories of cache mounts.
func (e *engine) caches() *run.Caches {
	c := &run.Caches{Dir: filepath.Join(e.req.Dir, "mounts")}
	m := &mounts{CacheMounts: e.req.CacheMounts, e: e, caches: c, were: make(map[string]string)}
	if m.Lookup != nil {
		c.Fetch = m.fetch
	}
	e.mounts = m
	return c
}

// mountKey is the key under which a directory is kept.
func mountKey(name string) cache.Key {
	return cache.Key(framed.New("strake cache mount 1").String(name).Sum())
}

// fetch fills a new directory. A cache mount may always be empty, so what goes
// wrong is told, and no reason to fail.
func (m *mounts) fetch(ctx context.Context, name, dir string) (bool, error) {
	e, err := m.Lookup.Get(ctx, mountKey(name))
	if err == nil && len(e.Layers) != 1 {
		err = fmt.Errorf("%w: it has %d layers, and a cache mount has one", cache.ErrDamaged, len(e.Layers))
	}
	if errors.Is(err, cache.ErrMiss) {
		return false, nil
	}
	if err == nil {
		err = m.unpack(ctx, &e.Layers[0], dir)
	}
	if cause := context.Cause(ctx); cause != nil {
		return false, cause
	}
	if err != nil {
		logger(ctx).Warn().Err(err).Msgf("cache mount from %s: it begins empty", m.Lookup)
		return false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.were[name] = e.Layers[0].Content
	return true, nil
}

// unpack reads the layer to its end, where it is right or wrong, before the
// directory has anything of it.
func (m *mounts) unpack(ctx context.Context, l *cache.Layer, dir string) error {
	spool, err := m.e.workspace.Spool()
	if err != nil {
		return err
	}
	defer spool.Close()
	r, err := l.OpenContext(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	t, _, err := layer.Unpack(ctx, r, "", layer.UnpackOptions{DiffID: l.DiffID, Spool: spool})
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return layer.Checkout(ctx, t.Seal(), dir, m.e.workspace.Applied())
}

// keep puts the directories that steps had into the cache, those that changed.
func (m *mounts) keep(ctx context.Context) {
	if m == nil || m.Store == nil {
		return
	}
	for _, name := range m.caches.Used() {
		err := m.caches.With(ctx, name, func(dir string) error { return m.keepOne(ctx, name, dir) })
		if err != nil && ctx.Err() == nil {
			logger(ctx).Warn().Err(err).Msgf("cache mount is not kept in %s", m.Store)
		}
	}
}

func (m *mounts) keepOne(ctx context.Context, name, dir string) error {
	t, err := snapshot.Upper(ctx, dir, snapshot.UpperOptions{Adjust: m.e.workspace.Snapshot(nil).Adjust})
	if err != nil {
		return err
	}
	var prints layer.Fingerprints
	content, err := prints.Of(ctx, t.Seal())
	if err != nil {
		return err
	}
	m.mu.Lock()
	same := m.were[name] == content
	m.mu.Unlock()
	if same {
		return nil
	}
	aside, err := m.e.workspace.NewDir()
	if err != nil {
		return err
	}
	b, err := layer.Pack(ctx, t, aside, layer.PackOptions{Compression: layer.Zstd})
	if err != nil {
		return err
	}
	if m.MaxSize > 0 && b.Size > m.MaxSize {
		return fmt.Errorf("it has %s, allowed are %s", units.HumanSize(float64(b.Size)), units.HumanSize(float64(m.MaxSize)))
	}
	return m.Store.Put(ctx, &cache.Entry{
		Key: mountKey(name), Step: "cache mount " + name, Platform: "any", Builder: version.Get().Version, Created: m.e.b.Now(),
		Layers: []cache.Layer{{Blob: *b, Content: content}}, Own: 1,
	})
}
