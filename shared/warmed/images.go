// Package warmed resolves images in a directory that a warmer filled, and asks a registry only for what is not there.
package warmed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
)

// Resolver finds images by reference, as registry.Client does.
type Resolver interface {
	Image(ctx context.Context, ref string, p *v1.Platform) (*registry.Image, error)
}

// Images is a Resolver that looks into a store first. Its fields are set once.
//
// What a digest names is taken from the store whatever its age. What a tag
// names is what it was when it was warmed, until that is older than TTL: then
// the registry is asked, and only where it cannot be reached the tag stays what
// it was, with a notice.
//
// Every byte is compared with its digest. A blob that is damaged or gone comes
// from the registry instead, where there is one to ask.
type Images struct {
	Store *store.Store
	// Registry is asked for what the store does not have; nil asks nobody.
	Registry Resolver
	// TTL is how long a tag may stay what it was; 0 for ever.
	TTL time.Duration
	// Notice is told what went another way than planned; nil means nobody listens.
	Notice func(line string)
	Now    func() time.Time
}

var _ Resolver = (*Images)(nil)

// Image resolves a reference to the image of a platform; nil means this
// machine's. Where nobody may be asked, what is missing is a *MissingError.
func (i *Images) Image(ctx context.Context, ref string, p *v1.Platform) (*registry.Image, error) {
	root, err := i.root(ref)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if root != nil && root.fresh {
		img, err := i.here(ctx, ref, root.desc, p)
		if img != nil || err != nil {
			return img, err
		}
	}
	if i.Registry == nil {
		return i.offline(ctx, ref, root, p)
	}
	img, err := i.Registry.Image(ctx, ref, p)
	if err == nil {
		return i.withLayers(img), nil
	}
	if root == nil || !errors.Is(err, registry.ErrUnavailable) {
		return nil, err
	}
	if old, herr := i.here(ctx, ref, root.desc, p); old != nil && herr == nil {
		i.notice(fmt.Sprintf("%s is what it was %s ago: %v", ref, root.age(), err))
		return old, nil
	}
	return nil, err
}

// found is what a reference names in the store.
type found struct {
	desc   v1.Descriptor
	fresh  bool
	record *store.Record // nil for what is named by digest
	now    time.Time
}

func (f *found) age() string {
	if f.record == nil {
		return "some time"
	}
	age := f.record.Age(f.now)
	if age > 100*365*24*time.Hour {
		return "some time" // by a clock that nobody can make sense of
	}
	return age.Round(time.Minute).String()
}

// root says what a reference names. A digest says it itself.
func (i *Images) root(ref string) (*found, error) {
	if _, digest, ok := strings.Cut(ref, "@"); ok {
		h, err := v1.NewHash(digest)
		if err != nil {
			return nil, fmt.Errorf("reference %q: %w", ref, err)
		}
		return &found{desc: v1.Descriptor{Digest: h}, fresh: true}, nil
	}
	r, err := i.Store.Ref(ref)
	if err != nil {
		return nil, err
	}
	now := i.Now()
	return &found{desc: r.Root, fresh: i.TTL <= 0 || r.Age(now) <= i.TTL, record: r, now: now}, nil
}

// here puts an image together from the directory; nil where something is missing
// or damaged that the registry may have.
func (i *Images) here(ctx context.Context, ref string, root v1.Descriptor, p *v1.Platform) (*registry.Image, error) {
	for _, c := range i.shelves(root.Digest) {
		img, err := registry.ImageFrom(ctx, c, ref, root, p)
		switch {
		case err == nil && i.lacks(c, img) == "":
			i.Store.Touch(img.Root.Digest)
			return i.fallBack(img, c, p), nil
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, store.ErrIntegrity):
			i.notice(fmt.Sprintf("%s: %v", ref, err))
		case errors.Is(err, registry.ErrNoPlatform) && i.Registry != nil && !strings.Contains(ref, "@"):
			// The tag may have the platform by now.
		default:
			return nil, fmt.Errorf("%s in %s: %w", ref, i.Store.Path(), err)
		}
	}
	return nil, nil
}

// lacks names the first layer that is not there, or "".
func (i *Images) lacks(c shelf, img *registry.Image) string {
	for _, l := range img.Layers {
		if !c.has(l.Descriptor) {
			return "layer " + l.Descriptor.Digest.String()
		}
	}
	return ""
}

// fallBack lets layers that turn out to be damaged come from the registry.
func (i *Images) fallBack(img *registry.Image, c shelf, p *v1.Platform) *registry.Image {
	for n := range img.Layers {
		l := &img.Layers[n]
		l.Open = func(ctx context.Context) (io.ReadCloser, error) {
			if i.Registry == nil {
				return c.Blob(ctx, l.Descriptor)
			}
			r, err := c.checked(ctx, l.Descriptor)
			if err == nil {
				return r, nil
			}
			i.notice(fmt.Sprintf("%s: %v; the registry is asked for it", img.Ref, err))
			again, rerr := i.Registry.Image(ctx, pinned(img), p)
			if rerr != nil {
				return nil, errors.Join(err, rerr)
			}
			return again.Layers[n].Open(ctx)
		}
	}
	return img
}

// pinned names an image by its digest.
func pinned(img *registry.Image) string {
	name, _, _ := strings.Cut(img.Ref, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	return name + "@" + img.Root.Digest.String()
}

// withLayers takes layers of an image in a registry from the directory, where
// they are there.
func (i *Images) withLayers(img *registry.Image) *registry.Image {
	out := *img
	out.Layers = append([]registry.Layer(nil), img.Layers...)
	shelves := i.shelves(img.Manifest.Digest)
	for n := range out.Layers {
		l := &out.Layers[n]
		open := l.Open
		l.Open = func(ctx context.Context) (io.ReadCloser, error) {
			for _, c := range shelves {
				if r, err := c.checked(ctx, l.Descriptor); err == nil {
					return r, nil
				}
			}
			return open(ctx)
		}
	}
	return &out
}

// offline is the answer where nobody may be asked.
func (i *Images) offline(ctx context.Context, ref string, root *found, p *v1.Platform) (*registry.Image, error) {
	if root == nil {
		return nil, i.missing(ref, p, "it was never warmed")
	}
	img, err := i.here(ctx, ref, root.desc, p)
	if err != nil {
		return nil, err
	}
	if img == nil {
		return nil, i.missing(ref, p, i.reason(ctx, ref, root.desc, p))
	}
	if !root.fresh {
		i.notice(fmt.Sprintf("%s is what it was %s ago: nobody may be asked", ref, root.age()))
	}
	return img, nil
}

// reason says what of an image is missing.
func (i *Images) reason(ctx context.Context, ref string, root v1.Descriptor, p *v1.Platform) string {
	c := &shelfOf{i.Store}
	img, err := registry.ImageFrom(ctx, c, ref, root, p)
	switch {
	case err == nil:
		return i.lacks(c, img) + " is not there"
	case errors.Is(err, fs.ErrNotExist) && !i.Store.Has(v1.Descriptor{Digest: root.Digest}):
		return "it was never warmed"
	case errors.Is(err, fs.ErrNotExist):
		return "it was warmed for other platforms only"
	}
	return err.Error()
}

func (i *Images) notice(line string) {
	if i.Notice != nil {
		i.Notice(line)
	}
}
