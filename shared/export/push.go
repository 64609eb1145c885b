package export

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
)

// Pusher writes to one destination; *registry.Pusher does. It may be used by
// several goroutines at once. Its errors name the destination.
type Pusher interface {
	// Upload puts a blob into the destination's repository, unless it is there.
	Upload(ctx context.Context, l v1.Layer) error
	// Push writes what is missing of t, the tag last. A tag that says t already
	// is success.
	Push(ctx context.Context, t remote.Taggable) (v1.Hash, error)
	// PushByDigest is Push without the tag.
	PushByDigest(ctx context.Context, t remote.Taggable) (v1.Hash, error)
	// Attach pushes a manifest that refers to another one, and sees to it that it
	// is found there.
	Attach(ctx context.Context, t remote.Taggable) (v1.Descriptor, error)
}

// Target is a destination and the way there.
type Target struct {
	Destination
	Pusher Pusher
}

// Sent tells of one thing that was written to a registry, or was not.
type Sent struct {
	Name   string // the repository of a layer, the full name of an image
	Digest v1.Hash
	Layer  bool
	// Referrer tells that it is about the image.
	Referrer bool
	Took     time.Duration
	Err      error
	// Ignored says that Err does not fail the push.
	Ignored bool
}

// Push is an Exporter to registries. Layers may go ahead of their image:
// announce them by Upload as they are finished. The fields are not to be
// changed after the first call.
type Push struct {
	Targets []Target
	// Retries is how often a whole push is repeated, after RetryWait (a second,
	// if zero), then twice that, and so on.
	Retries   int
	RetryWait time.Duration
	// IgnoreImmutable makes success of a registry's refusal to move a tag.
	IgnoreImmutable bool
	// Referrers are manifests about the artifact, or about what is in it. They are
	// in a repository before a tag of it moves.
	Referrers []v1.Image
	// Report is told of everything sent, one at a time. It may be nil.
	Report func(Sent)

	mu     sync.Mutex
	asked  map[v1.Hash]bool
	under  sync.WaitGroup
	places chan struct{}
	told   sync.Mutex
}

// uploads is how many layers are on the way at once.
const uploads = 4

// Upload begins to send a layer to every repository and returns at once. A
// layer is sent once, however often it is announced. Nothing is lost when it
// fails: Export sends what is missing.
func (p *Push) Upload(ctx context.Context, b *layer.Blob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[b.Digest] {
		return
	}
	if p.asked == nil {
		p.asked = map[v1.Hash]bool{}
		p.places = make(chan struct{}, uploads)
	}
	p.asked[b.Digest] = true
	for _, repos := range p.registries() {
		p.under.Go(func() {
			select {
			case p.places <- struct{}{}:
				defer func() { <-p.places }()
				p.upload(ctx, b, repos)
			case <-ctx.Done():
			}
		})
	}
}

// Wait returns when no upload is under way. Cancel their contexts to make it
// soon. Whoever called Upload and will not Export must Wait.
func (p *Push) Wait() { p.under.Wait() }

// upload sends a layer to the repositories of one registry, one after another:
// all but the first can have it mounted.
func (p *Push) upload(ctx context.Context, b *layer.Blob, repos []Target) {
	l, err := image.Layer(b)
	for _, t := range repos {
		start := time.Now()
		if err == nil {
			err = t.Pusher.Upload(ctx, l)
		}
		p.report(Sent{Name: t.Repository.Name(), Digest: b.Digest, Layer: true, Took: time.Since(start), Err: err, Ignored: err != nil})
		if err != nil {
			return
		}
	}
}

// registries groups the targets: by registry, and of each repository the first.
func (p *Push) registries() [][]Target {
	return group(p.repositories(), func(ts []Target) string { return ts[0].Repository.RegistryStr() }, func(ts []Target) Target { return ts[0] })
}

func (p *Push) repositories() [][]Target {
	return group(p.Targets, func(t Target) string { return t.Repository.Name() }, func(t Target) Target { return t })
}

// group puts together what has the same key, in the order of first appearance.
func group[T, R any](ts []T, key func(T) string, of func(T) R) [][]R {
	var keys []string
	var out [][]R
	for _, t := range ts {
		i := slices.Index(keys, key(t))
		if i < 0 {
			i = len(keys)
			keys, out = append(keys, key(t)), append(out, nil)
		}
		out[i] = append(out[i], of(t))
	}
	return out
}

// Export pushes to every target, whatever becomes of the others, and joins the
// errors in the targets' order. Repositories are served side by side, the tags
// of one repository one after another.
func (p *Push) Export(ctx context.Context, a Artifact) error {
	p.under.Wait()
	digest, err := a.Digest()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := map[string]error{}
	for _, repo := range p.repositories() {
		wg.Go(func() {
			attached := p.attach(ctx, a, repo[0])
			for _, t := range repo {
				err := attached
				if err == nil {
					err = p.push(ctx, a, digest, t)
				}
				p.mu.Lock()
				failed[t.String()] = err
				p.mu.Unlock()
			}
		})
	}
	wg.Wait()
	var errs []error
	for _, t := range p.Targets {
		errs = append(errs, failed[t.String()])
		delete(failed, t.String()) // a destination given twice fails once
	}
	return errors.Join(errs...)
}

// attach brings the artifact into a repository by its digest, and the referrers
// after it.
func (p *Push) attach(ctx context.Context, a Artifact, t Target) error {
	if len(p.Referrers) == 0 {
		return nil
	}
	err := p.retry(ctx, func() error {
		_, err := t.Pusher.PushByDigest(ctx, a)
		return err
	})
	for _, r := range p.Referrers {
		if err != nil {
			return err
		}
		start := time.Now()
		var d v1.Descriptor
		err = p.retry(ctx, func() (err error) {
			d, err = t.Pusher.Attach(ctx, r)
			return err
		})
		p.report(Sent{Name: t.Repository.Name(), Digest: d.Digest, Referrer: true, Took: time.Since(start), Err: err})
	}
	return err
}

func (p *Push) push(ctx context.Context, a Artifact, digest v1.Hash, t Target) error {
	start := time.Now()
	write := t.Pusher.Push
	if t.Tag == "" {
		write = t.Pusher.PushByDigest
	}
	err := p.retry(ctx, func() error {
		_, err := write(ctx, a)
		return err
	})
	ignored := p.IgnoreImmutable && errors.Is(err, registry.ErrImmutable)
	p.report(Sent{Name: t.String(), Digest: digest, Took: time.Since(start), Err: err, Ignored: ignored})
	if ignored {
		return nil
	}
	return err
}

func (p *Push) retry(ctx context.Context, try func() error) error {
	wait := p.RetryWait
	if wait == 0 {
		wait = time.Second
	}
	for left := p.Retries; ; left-- {
		err := try()
		if err == nil || left <= 0 || ctx.Err() != nil || errors.Is(err, registry.ErrImmutable) {
			return err
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return err
		}
	}
}

func (p *Push) report(s Sent) {
	if p.Report == nil {
		return
	}
	p.told.Lock()
	defer p.told.Unlock()
	p.Report(s)
}
