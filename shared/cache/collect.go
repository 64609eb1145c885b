package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
)

// Info is an entry in a list.
type Info struct {
	Key      Key       `json:"key"`
	Step     string    `json:"step"`
	Platform string    `json:"platform"`
	Builder  string    `json:"builder"`
	Created  time.Time `json:"created"`
	// Size is what the step's own layers have as blobs.
	Size    int64   `json:"size"`
	Seconds float64 `json:"seconds"`
	// Problem says why the entry is not to be used; empty for a good one.
	Problem string `json:"problem,omitempty"`
}

func infoOf(e *Entry) Info {
	return Info{e.Key, e.Step, e.Platform, e.Builder, e.Created, e.Size(), e.Took.Seconds(), ""}
}

// Policy says what a collection takes away. The zero value takes what no entry
// leads to, where the place can do that.
type Policy struct {
	// MaxAge, where more than 0, takes entries that nobody used for so long; in a
	// repository, which does not know use, that nobody made for so long.
	MaxAge time.Duration
	// MaxSize, where more than 0, takes the oldest entries until the layers of the
	// rest have no more bytes.
	MaxSize int64
	// Keep are patterns of path.Match for names of steps that stay: "[build *".
	Keep []string
	// DryRun only says what would be done.
	DryRun bool
}

// Collected is what a collection took away.
type Collected struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // in a repository, of layers that nothing in it names any more
}

// Place is a cache that can be looked after.
type Place interface {
	Layers
	// List tells of all entries, damaged ones with their Problem, the oldest first.
	List(ctx context.Context) ([]Info, error)
	// Verify reads every byte of every entry and returns those with a Problem. What
	// is wrong in a directory is taken out of use.
	Verify(ctx context.Context) ([]Info, error)
	// Collect takes away what the policy says.
	Collect(ctx context.Context, p Policy) (Collected, error)
}

// List implements Place.
func (d *Directory) List(ctx context.Context) ([]Info, error) {
	return d.all(ctx, func(context.Context, *Entry) error { return nil })
}

// Verify implements Place.
func (d *Directory) Verify(ctx context.Context) ([]Info, error) {
	list, err := d.all(ctx, func(ctx context.Context, e *Entry) error {
		for _, l := range e.Layers {
			if err := d.Store.CheckAll(ctx, v1.Descriptor{Digest: l.Digest, Size: l.Size}); err != nil {
				return err
			}
		}
		return nil
	})
	return bad(list), err
}

func bad(list []Info) []Info {
	return slices.DeleteFunc(list, func(i Info) bool { return i.Problem == "" })
}

// all lists the entries, each looked at by check.
func (d *Directory) all(ctx context.Context, check func(context.Context, *Entry) error) ([]Info, error) {
	refs, err := d.Store.Refs()
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, r := range refs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		tag, ours := strings.CutPrefix(r.Ref, names+":")
		k, ok := KeyOf(tag)
		if !ours || !ok {
			continue
		}
		list = append(list, look(ctx, k, func() (*Entry, error) {
			e, _, err := d.entry(k)
			return e, err
		}, check))
	}
	oldestFirst(list)
	return list, nil
}

// look describes one entry.
func look(ctx context.Context, k Key, get func() (*Entry, error), check func(context.Context, *Entry) error) Info {
	e, err := get()
	if err != nil {
		return Info{Key: k, Problem: err.Error()}
	}
	i := infoOf(e)
	if err := check(ctx, e); err != nil {
		i.Problem = err.Error()
	}
	return i
}

func oldestFirst(list []Info) {
	slices.SortFunc(list, func(a, b Info) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key, b.Key))
	})
}

// Collect implements Place. Use counts, and a grace protects what is being written.
func (d *Directory) Collect(ctx context.Context, p Policy) (Collected, error) {
	keep, err := d.kept(ctx, p.Keep)
	if err != nil {
		return Collected{}, err
	}
	c, err := d.Store.Collect(ctx, store.Policy{UnusedFor: p.MaxAge, MaxSize: p.MaxSize, Keep: keep, DryRun: p.DryRun})
	return Collected{Entries: len(c.Refs), Bytes: c.Bytes}, err
}

// kept are the names of entries whose steps match.
func (d *Directory) kept(ctx context.Context, patterns []string) (refs []string, err error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	list, err := d.List(ctx)
	for _, i := range list {
		if matches(patterns, i.Step) {
			refs = append(refs, ref(i.Key))
		}
	}
	return refs, err
}

// matches tells whether a step is named by a pattern, or by its beginning.
func matches(patterns []string, step string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, step)
		return ok || strings.HasPrefix(step, p)
	})
}

// looking is how many entries of a repository are looked at at once.
const looking = 16

// List implements Place.
func (r *Repository) List(ctx context.Context) ([]Info, error) {
	return r.all(ctx, func(context.Context, *Entry) error { return nil })
}

// Verify implements Place. All layers are downloaded, each once.
func (r *Repository) Verify(ctx context.Context) ([]Info, error) {
	var once sync.Map
	list, err := r.all(ctx, func(ctx context.Context, e *Entry) error {
		for _, l := range e.Layers {
			read, _ := once.LoadOrStore(l.Digest, sync.OnceValue(func() error { return readThrough(ctx, &l) }))
			if err := read.(func() error)(); err != nil { //nolint:forcetypeassert // nothing else is stored
				return err
			}
		}
		return nil
	})
	return bad(list), err
}

func (r *Repository) all(ctx context.Context, check func(context.Context, *Entry) error) ([]Info, error) {
	tags, err := r.Repository.Tags(ctx)
	if err != nil {
		return nil, err
	}
	tags = slices.DeleteFunc(tags, func(t string) bool { _, ok := KeyOf(t); return !ok })
	list := make([]Info, len(tags))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(looking)
	for n, t := range tags {
		k, _ := KeyOf(t)
		g.Go(func() error {
			list[n] = look(gctx, k, func() (*Entry, error) { return r.Get(gctx, k) }, check)
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	oldestFirst(list)
	return list, nil
}

// Collect implements Place. It deletes manifests; the registry frees the layers in
// its own time.
func (r *Repository) Collect(ctx context.Context, p Policy) (Collected, error) {
	var mu sync.Mutex
	layers := make(map[Key][]Layer)
	list, err := r.all(ctx, func(_ context.Context, e *Entry) error {
		mu.Lock()
		defer mu.Unlock()
		layers[e.Key] = e.Layers
		return nil
	})
	if err != nil {
		return Collected{}, err
	}
	users := make(map[v1.Hash]int)
	var total int64
	for _, ls := range layers {
		for _, l := range ls {
			if users[l.Digest]++; users[l.Digest] == 1 {
				total += l.Size
			}
		}
	}
	var out Collected
	for _, i := range list {
		old := p.MaxAge > 0 && store.Age(i.Created, time.Now()) > p.MaxAge || i.Problem != ""
		if matches(p.Keep, i.Step) || !old && (p.MaxSize <= 0 || total <= p.MaxSize) {
			continue
		}
		if err := r.delete(ctx, i.Key, p.DryRun); err != nil {
			return out, err
		}
		out.Entries++
		for _, l := range layers[i.Key] {
			if users[l.Digest]--; users[l.Digest] == 0 {
				total -= l.Size
				out.Bytes += l.Size
			}
		}
	}
	return out, nil
}

func (r *Repository) delete(ctx context.Context, k Key, dry bool) error {
	if dry {
		return nil
	}
	doc, err := r.Repository.Manifest(ctx, k.Tag())
	if errors.Is(err, registry.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	// Some registries delete tags alone, some only with what they name.
	tag := r.Repository.Delete(ctx, k.Tag())
	err = r.Repository.Delete(ctx, doc.Descriptor.Digest.String())
	if tag != nil && err != nil {
		return fmt.Errorf("delete entry %s (registries may forbid that; their own retention rules can take tags that begin with %s): %w", k.Tag(), tagPrefix, err)
	}
	return nil
}

// readThrough reads a layer to its end, where it is compared with its digest.
func readThrough(ctx context.Context, l *Layer) error {
	r, err := l.OpenContext(ctx)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
