// Package warm is the operation of the warmer: images from registries into a store.
package warm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warmed"
)

// Image is what to warm.
type Image struct {
	Ref string
	// Platforms are those to warm; none is this machine's. All is every one that
	// there is, with whatever else the index has.
	Platforms []v1.Platform
	All       bool
}

// Warmer fills a store. Its fields are set once.
type Warmer struct {
	Store    *store.Store
	Registry *registry.Client
	// TTL is how long a tag is taken for what it was without asking; 0 asks always.
	TTL time.Duration
	// Force asks the registry, and compares every blob with its digest.
	Force bool
	// Referrers warms signatures and whatever else refers to an image.
	Referrers bool
	// Parallel is how many blobs are fetched at once; 0 means DefaultParallel.
	Parallel int
	// Prepare, where set, is called for each image when all of it is in the store.
	Prepare func(ctx context.Context, img *registry.Image) error
	// Report is told what happens, from several goroutines; nil means nobody listens.
	Report func(Event)
	Now    func() time.Time
}

// DefaultParallel is how many blobs are fetched at once.
const DefaultParallel = 4

// imagesAtOnce bounds the questions about images; their blobs have a bound of their own.
const imagesAtOnce = 8

// Event is something that happened to an image.
type Event struct {
	Ref     string
	Digest  v1.Hash
	Size    int64
	Fetched bool // or was there
	Took    time.Duration
}

// Result is what became of an image.
type Result struct {
	Ref       string   `json:"ref"`
	Digest    v1.Hash  `json:"digest"`
	Platforms []string `json:"platforms,omitempty"`
	Fetched   int64    `json:"fetched"` // bytes
	Reused    int64    `json:"reused"`  // bytes
	Fresh     bool     `json:"fresh"`   // nobody was asked
	Err       error    `json:"-"`
}

// Warm warms images side by side, and says of each what became of it, in the
// order given. An error is of the whole.
func (w *Warmer) Warm(ctx context.Context, images []Image) ([]Result, error) {
	defer w.Store.Lease()()
	n := w.Parallel
	if n <= 0 {
		n = DefaultParallel
	}
	r := &run{Warmer: w, slots: make(chan struct{}, n)}
	images = merge(images)
	results := make([]Result, len(images))
	var g errgroup.Group
	g.SetLimit(imagesAtOnce)
	for i, img := range images {
		g.Go(func() error {
			results[i] = r.image(ctx, img)
			return nil
		})
	}
	_ = g.Wait() // each has an error of its own
	if err := context.Cause(ctx); err != nil {
		return results, err
	}
	return results, w.Store.WriteIndex()
}

// merge makes one of all that are asked for by the same reference.
func merge(images []Image) []Image {
	var out []Image
	at := make(map[string]int)
	for _, img := range images {
		key := img.Ref
		if full, err := store.Canonical(img.Ref); err == nil {
			key = full
		}
		i, ok := at[key]
		if !ok {
			at[key] = len(out)
			out = append(out, img)
			continue
		}
		out[i].All = out[i].All || img.All
		if len(img.Platforms) == 0 || len(out[i].Platforms) == 0 {
			host := registry.HostPlatform()
			out[i].Platforms = append(out[i].Platforms, host)
		}
		for _, p := range img.Platforms {
			if !slices.ContainsFunc(out[i].Platforms, p.Equals) {
				out[i].Platforms = append(slices.Clip(out[i].Platforms), p)
			}
		}
	}
	return out
}

// run is one call of Warm.
type run struct {
	*Warmer
	slots   chan struct{} // of downloads
	flights flights
}

// attempts is how often an image is fetched that a collection takes apart meanwhile.
const attempts = 3

func (r *run) image(ctx context.Context, img Image) (res Result) {
	res.Ref = img.Ref
	if full, err := store.Canonical(img.Ref); err == nil {
		res.Ref = full
	}
	j := &job{run: r, want: img, res: &res}
	for range attempts {
		if res.Err = j.do(ctx); !errors.Is(res.Err, fs.ErrNotExist) {
			break
		}
	}
	if res.Err != nil {
		res.Err = fmt.Errorf("warm %s: %w", img.Ref, res.Err)
	}
	return res
}

// job is one image of a run.
type job struct {
	*run
	want Image
	res  *Result
}

func (j *job) do(ctx context.Context) error {
	if done, err := j.fresh(ctx); done || err != nil {
		return err
	}
	var root v1.Descriptor
	var from string
	var err error
	if j.want.All {
		root, from, err = j.fetchAll(ctx)
	} else {
		root, from, err = j.fetchPlatforms(ctx)
	}
	if err != nil {
		return err
	}
	// The record comes last: what it leads to is there.
	if err := j.Store.SetRef(store.Record{Ref: j.res.Ref, Root: root, ResolvedAt: j.Now(), From: from}); err != nil {
		return err
	}
	j.res.Digest = root.Digest
	j.Store.Touch(root.Digest)
	if j.Referrers {
		if err := j.referrers(ctx, root.Digest); err != nil {
			return err
		}
	}
	return j.finish(ctx, root)
}

// fresh tells whether nothing needs to be asked: the name is young enough, and all
// of the image is there and right.
func (j *job) fresh(ctx context.Context) (bool, error) {
	if j.Force || j.Referrers {
		return false, nil
	}
	rec, err := j.Store.Ref(j.res.Ref)
	if err != nil {
		return false, nil //nolint:nilerr // then the registry is asked
	}
	if !isDigest(j.res.Ref) && (j.TTL <= 0 || rec.Age(j.Now()) > j.TTL) {
		return false, nil
	}
	if j.want.All && !j.whole(rec.Root) {
		return false, nil
	}
	reused := j.res.Reused
	if err := j.finish(ctx, rec.Root); err != nil {
		j.res.Platforms, j.res.Reused = nil, reused
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrIntegrity) || errors.Is(err, registry.ErrNoPlatform) {
			return false, nil
		}
		return false, err
	}
	j.res.Digest, j.res.Fresh = rec.Root.Digest, true
	j.Store.Touch(rec.Root.Digest)
	return true, nil
}

// whole tells whether an index is there with all that it lists.
func (j *job) whole(root v1.Descriptor) bool {
	raw, err := j.Store.Read(root, maxDocument)
	if err != nil {
		return false
	}
	m, err := v1.ParseIndexManifest(bytesReader(raw))
	if err != nil {
		return false
	}
	for _, d := range m.Manifests {
		if !j.Store.Has(d) {
			return false
		}
	}
	return true
}

// finish sees that all of the image is there and right, and prepares it.
func (j *job) finish(ctx context.Context, root v1.Descriptor) error {
	platforms := j.platforms()
	if j.want.All {
		parts, err := j.Store.Parts(root)
		if err != nil {
			return err
		}
		for _, d := range parts {
			if err := j.there(ctx, d); err != nil {
				return err
			}
		}
		if platforms, err = j.listed(root); err != nil {
			return err
		}
	}
	for _, p := range platforms {
		img, err := registry.ImageFrom(ctx, warmed.Contents(j.Store), j.res.Ref, root, p)
		if err != nil {
			return err
		}
		for _, l := range img.Layers {
			if err := j.there(ctx, l.Descriptor); err != nil {
				return err
			}
		}
		j.res.Platforms = append(j.res.Platforms, img.Platform.String())
		if j.Prepare == nil {
			continue
		}
		if err := j.Prepare(ctx, img); err != nil {
			return err
		}
	}
	return nil
}

// there compares a blob with its digest, unless it was when it was last looked at.
func (j *job) there(ctx context.Context, d v1.Descriptor) error {
	if j.Force {
		if _, err := j.flights.do(ctx, "check "+d.Digest.String(), func() (bool, error) { return false, j.Store.CheckAll(ctx, d) }); err != nil {
			return err
		}
	} else if err := j.Store.Check(ctx, d); err != nil {
		return err
	}
	return nil
}

func (j *job) platforms() []*v1.Platform {
	if len(j.want.Platforms) == 0 {
		return []*v1.Platform{nil}
	}
	var out []*v1.Platform
	for i := range j.want.Platforms {
		out = append(out, &j.want.Platforms[i])
	}
	return out
}

// listed are the platforms that an index has, or nil for the one of an image.
func (j *job) listed(root v1.Descriptor) ([]*v1.Platform, error) {
	raw, err := j.Store.Read(root, maxDocument)
	if err != nil {
		return nil, err
	}
	if !root.MediaType.IsIndex() {
		return []*v1.Platform{nil}, nil
	}
	m, err := v1.ParseIndexManifest(bytesReader(raw))
	if err != nil {
		return nil, err
	}
	var out []*v1.Platform
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.OS != "unknown" && d.MediaType.IsImage() {
			out = append(out, d.Platform)
		}
	}
	return out, nil
}

// blob fetches a blob once for all who want it, in a slot.
func (j *job) blob(ctx context.Context, d v1.Descriptor, open func(context.Context) (io.ReadCloser, error)) error {
	start := j.Now()
	fetched, err := j.flights.do(ctx, d.Digest.String(), func() (bool, error) {
		select {
		case j.slots <- struct{}{}:
			defer func() { <-j.slots }()
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if j.Force {
			_ = j.Store.CheckAll(ctx, d) // what is wrong is set aside, and fetched below
		}
		return j.Store.Put(ctx, d, open)
	})
	if err != nil {
		return err
	}
	if fetched {
		j.res.Fetched += d.Size
	} else {
		j.res.Reused += d.Size
	}
	if j.Report != nil {
		j.Report(Event{Ref: j.res.Ref, Digest: d.Digest, Size: d.Size, Fetched: fetched, Took: j.Now().Sub(start)})
	}
	return nil
}
