package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// Caches keeps the directories of cache mounts between builds: one per ID, and
// more where steps want one each. Locks hold between processes (flock(2)).
type Caches struct {
	Dir string
	// Fetch, where set, is asked to fill the new directory of a cache of this name
	// with what another builder kept; false leaves it empty.
	Fetch func(ctx context.Context, name, dir string) (bool, error)

	mu   sync.Mutex
	used map[string]bool // names of those that steps had
}

// Used lists the names of the caches that steps have had so far. Private copies
// are not among them.
func (c *Caches) Used() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.used))
}

// With calls fn with the directory of a cache, which no step that wants it for
// itself has meanwhile.
func (c *Caches) With(ctx context.Context, name string, fn func(dir string) error) error {
	dir, unlock, err := openLocked(ctx, filepath.Join(c.Dir, name), unix.LOCK_SH, func(string) error { return nil })
	if err != nil {
		return err
	}
	return errors.Join(fn(dir), unlock())
}

// maxPrivate is how many private copies of one cache mount there may be.
const maxPrivate = 256

// cacheSource locks a cache and yields its directory. One step may mount the
// same cache at several places.
func (r *Runner) cacheSource(ctx context.Context, step *mounts, m *graph.Mount, in tree.Tree) (source, error) {
	view, err := in.View(ctx)
	if err != nil {
		return source{}, err
	}
	_, seed, err := view.Resolve(m.Selector, true)
	if err != nil {
		return source{}, err
	}
	if seed == nil || !seed.IsDir() {
		return source{}, fmt.Errorf("%q: not found", m.Selector)
	}
	key, err := cacheKey(m, view, seed)
	if err != nil {
		return source{}, fmt.Errorf("cache %s: %w", m.Cache.ID, err)
	}
	if dir, ok := step.caches[key]; ok {
		return source{mount: sandbox.Mount{Source: dir, ReadOnly: m.ReadOnly}}, nil
	}
	sharing := m.Cache.Sharing
	if sharing == graph.SharingShared && !r.Sandbox.View().Layered {
		sharing = graph.SharingLocked // without mounts a directory is in one root at a time
	}
	dir, unlock, err := r.Caches.open(ctx, key, sharing, func(dir string) error {
		return r.checkoutBelow(ctx, view, seed, dir)
	})
	if err != nil {
		return source{}, fmt.Errorf("cache %s: %w", m.Cache.ID, err)
	}
	s := source{mount: sandbox.Mount{Source: dir, ReadOnly: m.ReadOnly}, release: unlock}
	if err := r.Workspace.LoadRecord(dir, dir+owners); err != nil {
		return s, fmt.Errorf("cache %s: %w", m.Cache.ID, err)
	}
	s.release = func() error { return errors.Join(r.Workspace.SaveRecord(dir, dir+owners), unlock()) }
	step.caches[key] = dir
	return s, nil
}

// owners is what the name of a file ends with that says of a cache, beside it,
// what the disk cannot.
const owners = ".owners"

// cacheKey names a cache directory: by its ID and by what it starts with, since
// the same ID over another start is another cache, as in BuildKit.
func cacheKey(m *graph.Mount, view *tree.View, seed *tree.File) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "strake cache mount 1\x00%q\x00", m.Cache.ID)
	if m.Input < 0 {
		return hex.EncodeToString(h.Sum(nil)[:16]), nil
	}
	err := view.Walk(seed, func(f *tree.File) error {
		fmt.Fprintf(h, "%q %d %o %d %d %d %q\x00", f.Path[len(seed.Path):], f.Kind, f.Mode, f.UID, f.GID, f.Size, f.Target)
		if f.Content == nil {
			return nil
		}
		r, err := f.Content.Open()
		if err != nil {
			return err
		}
		_, err = io.Copy(h, r)
		return errors.Join(err, r.Close())
	})
	return hex.EncodeToString(h.Sum(nil)[:16]), err
}

// open returns the directory for a cache mount, locked as its sharing asks.
func (c *Caches) open(ctx context.Context, key string, sharing graph.Sharing, seed func(string) error) (string, func() error, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return "", nil, err
	}
	base := filepath.Join(c.Dir, key)
	if c.Fetch != nil {
		empty := seed
		seed = func(dir string) error {
			if ok, err := c.Fetch(ctx, key, dir); ok || err != nil {
				return err
			}
			return empty(dir)
		}
	}
	if sharing != graph.SharingPrivate {
		c.mu.Lock()
		if c.used == nil {
			c.used = make(map[string]bool)
		}
		c.used[key] = true
		c.mu.Unlock()
	}
	if sharing != graph.SharingPrivate {
		how := unix.LOCK_SH
		if sharing == graph.SharingLocked {
			how = unix.LOCK_EX
		}
		return openLocked(ctx, base, how, seed)
	}
	for i := range maxPrivate {
		name := base
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		dir, unlock, err := openLocked(ctx, name, unix.LOCK_EX|unix.LOCK_NB, seed)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		return dir, unlock, err
	}
	return "", nil, fmt.Errorf("%d private copies are in use", maxPrivate)
}

// openLocked takes the lock beside a cache directory and makes the directory
// where it is missing: aside first, so that it is never seen half seeded.
func openLocked(ctx context.Context, dir string, how int, seed func(string) error) (_ string, _ func() error, err error) {
	f, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := flock(ctx, f, how); err != nil {
		return "", nil, err
	}
	now := time.Now()
	_ = os.Chtimes(f.Name(), now, now) // it only seems unused for longer
	if _, err := os.Stat(dir); err == nil {
		return dir, f.Close, nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), newPrefix+filepath.Base(dir)+"-")
	if err != nil {
		return "", nil, err
	}
	if err := seed(tmp); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		_ = os.RemoveAll(tmp)
		if _, serr := os.Stat(dir); serr != nil { // another build was first: its directory is as good
			return "", nil, err
		}
	}
	return dir, f.Close, nil
}

// flockPoll is how often a lock that another holds is tried again.
const flockPoll = 50 * time.Millisecond

// flock waits for a lock and can be cancelled, which flock(2) itself cannot.
func flock(ctx context.Context, f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB) //nolint:gosec // a descriptor fits
		if !errors.Is(err, unix.EWOULDBLOCK) || how&unix.LOCK_NB != 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(flockPoll):
		}
	}
}
