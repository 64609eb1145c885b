package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// Policy says what a collection takes away. The zero value takes only what no
// name leads to.
type Policy struct {
	// Keep are names that stay whatever the rest says: references, repositories,
	// or patterns of path.Match for either.
	Keep []string
	// UnusedFor, where more than 0, forgets names that nobody used for so long.
	UnusedFor time.Duration
	// MaxSize, where more than 0, forgets the names longest unused until the
	// store has no more bytes.
	MaxSize int64
	// Grace is how old something must be that no name leads to: it may be on its
	// way. 0 means DefaultGrace, less than 0 none.
	Grace time.Duration
	// DryRun only says what would be done.
	DryRun bool
}

// DefaultGrace is Policy's.
const DefaultGrace = time.Hour

// Collected is what a collection took away, and what is left.
type Collected struct {
	Refs  []string `json:"refs"`
	Blobs int      `json:"blobs"`
	Bytes int64    `json:"bytes"`
	Left  int64    `json:"left"` // bytes of blobs, tables and trees
}

// collection is one run.
type collection struct {
	s    *Store
	p    Policy
	now  time.Time // by the clock of the volume
	refs []*usedRef
	out  Collected
}

type usedRef struct {
	Record
	file  string
	used  time.Time
	keep  bool
	marks []v1.Hash
}

// Collect takes away what the policy says. Times are compared by the clock of
// the volume alone, so that a machine whose clock is wrong does no harm.
func (s *Store) Collect(ctx context.Context, p Policy) (Collected, error) {
	if s.readOnly && !p.DryRun {
		return Collected{}, ErrReadOnly
	}
	if p.Grace == 0 {
		p.Grace = DefaultGrace
	}
	c := &collection{s: s, p: p}
	unlock, err := s.alone(ctx)
	if err != nil {
		return c.out, err
	}
	defer unlock()
	if c.now, err = s.now(); err != nil {
		return c.out, fmt.Errorf("ask the volume for the time: %w", err)
	}
	if err := c.forget(ctx); err != nil {
		return c.out, fmt.Errorf("collect in store %s: %w", s.dir, err)
	}
	if err := c.sweep(ctx); err != nil {
		return c.out, fmt.Errorf("collect in store %s: %w", s.dir, err)
	}
	if p.DryRun {
		return c.out, nil
	}
	return c.out, s.WriteIndex()
}

// now is the time that the volume gives a new file.
func (s *Store) now() (time.Time, error) {
	if s.readOnly {
		return time.Now(), nil
	}
	a, err := s.aside("clock")
	if err != nil {
		return time.Time{}, err
	}
	fi, err := a.f.Stat()
	if err = errors.Join(err, a.close()); err != nil {
		return time.Time{}, err
	}
	return fi.ModTime(), nil
}

const leaseFile = "lease"

// Lease tells collections that somebody is filling the store, until it is given back.
func (s *Store) Lease() (release func()) {
	f, err := s.lockFile(leaseFile)
	if err != nil {
		return func() {}
	}
	_ = s.flock(f, unix.LOCK_SH|unix.LOCK_NB)
	return func() { f.Close() }
}

// alone waits a little for those who are filling the store. The grace for young
// content protects them where they cannot be waited for.
func (s *Store) alone(ctx context.Context) (func(), error) {
	f, err := s.lockFile(leaseFile)
	if err != nil {
		return func() {}, nil //nolint:nilerr // a lock is politeness
	}
	for start := time.Now(); ; {
		if err := s.flock(f, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK || time.Since(start) > patience {
			return func() { f.Close() }, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// forget takes away names that are not to be kept.
func (c *collection) forget(ctx context.Context) error {
	if err := c.list(ctx); err != nil {
		return err
	}
	if c.p.UnusedFor > 0 {
		for _, r := range slices.Clone(c.refs) {
			if !r.keep && c.now.Sub(r.used) > c.p.UnusedFor {
				if err := c.drop(r); err != nil {
					return err
				}
			}
		}
	}
	if c.p.MaxSize > 0 {
		if err := c.shrink(); err != nil {
			return err
		}
	}
	return c.orphans()
}

func (c *collection) list(ctx context.Context) error {
	return c.s.eachRef(func(file string, r *Record) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if r == nil {
			if c.p.DryRun {
				return nil
			}
			return c.s.remove(file)
		}
		u := &usedRef{Record: *r, file: file, keep: kept(c.p.Keep, r.Ref)}
		for _, name := range []string{file, filepath.Join("uses", r.Root.Digest.Algorithm, r.Root.Digest.Hex)} {
			if fi, err := os.Lstat(c.s.path(name)); err == nil && fi.ModTime().After(u.used) {
				u.used = fi.ModTime()
			}
		}
		u.marks = c.s.reach(r.Root.Digest)
		c.refs = append(c.refs, u)
		return nil
	})
}

// kept tells whether one of the patterns is for a name.
func kept(patterns []string, ref string) bool {
	p, err := parseRef(ref)
	if err != nil {
		return false
	}
	for _, want := range patterns {
		full, _ := Canonical(want)
		for _, have := range []string{ref, p.host + "/" + p.repo} {
			if ok, _ := path.Match(want, have); ok || want == have || full == have || full == have+":latest" && !strings.Contains(want, ":") {
				return true
			}
		}
	}
	return false
}

func (c *collection) drop(r *usedRef) error {
	c.refs = slices.DeleteFunc(c.refs, func(o *usedRef) bool { return o == r })
	c.out.Refs = append(c.out.Refs, r.Ref)
	if c.p.DryRun {
		return nil
	}
	return c.s.remove(r.file)
}

// orphans forgets what was kept about images that are gone.
func (c *collection) orphans() error {
	live := make(map[v1.Hash]bool)
	for _, r := range c.refs {
		if r.Subject == nil {
			for _, d := range r.marks {
				live[d] = true
			}
		}
	}
	for _, r := range slices.Clone(c.refs) {
		if r.Subject != nil && !live[*r.Subject] {
			if err := c.drop(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// shrink forgets the names longest unused until the rest is small enough.
func (c *collection) shrink() error {
	users := make(map[v1.Hash]int)
	var total int64
	for _, r := range c.refs {
		for _, d := range r.marks {
			if users[d]++; users[d] == 1 {
				total += c.s.cost(d)
			}
		}
	}
	byUse := slices.Clone(c.refs)
	slices.SortStableFunc(byUse, func(a, b *usedRef) int { return a.used.Compare(b.used) })
	for _, r := range byUse {
		if total <= c.p.MaxSize {
			return nil
		}
		if r.keep || r.Subject != nil {
			continue
		}
		for _, d := range r.marks {
			if users[d]--; users[d] == 0 {
				total -= c.s.cost(d)
			}
		}
		if err := c.drop(r); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what no name leads to, and what runs that died have left.
func (c *collection) sweep(ctx context.Context) error {
	marked := make(map[string]bool)
	for _, r := range c.refs {
		for _, d := range r.marks {
			marked[d.Hex] = true
		}
	}
	// Once more: somebody may have named something meanwhile.
	err := c.s.eachRef(func(_ string, r *Record) error {
		if r != nil && !slices.Contains(c.out.Refs, r.Ref) {
			for _, d := range c.s.reach(r.Root.Digest) {
				marked[d.Hex] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	there := make(map[string]bool)
	err = c.s.eachBlob(func(d v1.Hash, fi fs.FileInfo) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if marked[d.Hex] || !c.old(fi) {
			there[d.Hex] = true
			c.out.Left += c.s.cost(d)
			return nil
		}
		c.out.Blobs++
		c.out.Bytes += c.s.cost(d)
		if c.p.DryRun {
			return nil
		}
		return errors.Join(c.s.remove(blobName(d)), c.s.dropNotes(d), c.s.dropTrees(d))
	})
	if err != nil || c.p.DryRun {
		return err
	}
	return errors.Join(c.leftovers(), c.widows(there))
}

// old tells whether a file has been there for longer than the grace.
func (c *collection) old(fi fs.FileInfo) bool {
	return c.p.Grace < 0 || c.now.Sub(fi.ModTime()) > c.p.Grace
}

// leftovers removes what was being written by those who are no more, and blobs
// that were set aside.
func (c *collection) leftovers() error {
	var errs []error
	for _, dir := range []string{"ingest", "bad"} {
		entries, err := os.ReadDir(c.s.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			fi, err := e.Info()
			if err != nil || strings.HasPrefix(e.Name(), "lock-") || strings.HasPrefix(e.Name(), ".nfs") || !c.old(fi) || c.s.inUse(name) {
				continue
			}
			errs = append(errs, c.s.fault("remove", name), os.RemoveAll(c.s.path(name)))
		}
	}
	return errors.Join(errs...)
}

// inUse tells whether somebody holds a lock on a file.
func (s *Store) inUse(name string) bool {
	f, err := os.OpenFile(s.path(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return s.flock(f, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// widows removes what is about blobs that are gone.
func (c *collection) widows(there map[string]bool) error {
	var errs []error
	for _, pattern := range []string{"notes/*/*", "uses/*/*", "trees/*"} {
		found, _ := filepath.Glob(c.s.path(pattern))
		for _, p := range found {
			hex, _, _ := strings.Cut(filepath.Base(p), ".")
			fi, err := os.Lstat(p)
			if err != nil || there[hex] || hex == "" || !c.old(fi) {
				continue
			}
			rel, err := filepath.Rel(c.s.dir, p)
			if err != nil {
				continue
			}
			if strings.HasPrefix(pattern, "trees/") {
				errs = append(errs, c.s.dropTree(rel))
				continue
			}
			errs = append(errs, c.s.fault("remove", rel), os.RemoveAll(p))
		}
	}
	return errors.Join(errs...)
}
