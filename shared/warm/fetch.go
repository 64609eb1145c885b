package warm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
)

const maxDocument = 32 << 20 // as in package registry

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

func isDigest(ref string) bool { return strings.Contains(ref, "@") }

// fetchPlatforms fetches the images of the platforms, and the index they are in.
func (j *job) fetchPlatforms(ctx context.Context) (root v1.Descriptor, from string, err error) {
	for _, p := range j.platforms() {
		img, err := j.Registry.Image(ctx, j.want.Ref, p)
		if err != nil {
			return root, from, err
		}
		for _, doc := range [][]byte{img.RawRoot, img.RawManifest, img.RawConfig} {
			if err := j.document(ctx, doc); err != nil {
				return root, from, err
			}
		}
		if err := j.layers(ctx, img); err != nil {
			return root, from, err
		}
		if err := j.indexes(ctx, img); err != nil {
			return root, from, err
		}
		root, from = img.Root, img.Repository
	}
	return root, from, nil
}

// indexes fetches the indexes that are in an image's index, which few have.
func (j *job) indexes(ctx context.Context, img *registry.Image) error {
	if !img.Root.MediaType.IsIndex() {
		return nil
	}
	m, err := v1.ParseIndexManifest(bytes.NewReader(img.RawRoot))
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if !d.MediaType.IsIndex() {
			continue
		}
		doc, err := j.Registry.Document(ctx, img.Repository+"@"+d.Digest.String())
		if err != nil {
			return err
		}
		if err := j.document(ctx, doc.Raw); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) document(ctx context.Context, raw []byte) error {
	d, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	_, err = j.Store.Put(ctx, v1.Descriptor{Digest: d, Size: int64(len(raw))}, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	})
	return err
}

// layers fetches the layers of an image side by side. The result is counted by
// one goroutine at a time.
func (j *job) layers(ctx context.Context, img *registry.Image) error {
	g, ctx := errgroup.WithContext(ctx)
	parts := make([]Result, len(img.Layers))
	for i, l := range img.Layers {
		g.Go(func() error {
			parts[i].Ref = j.res.Ref
			part := &job{run: j.run, want: j.want, res: &parts[i]}
			if err := part.blob(ctx, l.Descriptor, l.Open); err != nil {
				return fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
			}
			return nil
		})
	}
	err := g.Wait()
	for _, p := range parts {
		j.res.Fetched += p.Fetched
		j.res.Reused += p.Reused
	}
	return err
}

// fetchAll fetches what a reference names with everything below it.
func (j *job) fetchAll(ctx context.Context) (v1.Descriptor, string, error) {
	doc, err := j.Registry.Document(ctx, j.want.Ref)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	return doc.Descriptor, doc.Repository, j.tree(ctx, doc, deepest)
}

const deepest = 4 // indexes in indexes

// tree fetches a document and what it leads to, the document last.
func (j *job) tree(ctx context.Context, doc *registry.Document, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%s: indexes in indexes, more than %d deep", doc.Ref, deepest)
	}
	if doc.Index != nil {
		for _, d := range doc.Index.Manifests {
			child, err := doc.Child(ctx, d)
			if err != nil {
				return err
			}
			if err := j.tree(ctx, child, depth-1); err != nil {
				return err
			}
		}
		return j.document(ctx, doc.Raw)
	}
	for _, d := range append([]v1.Descriptor{doc.Image.Config}, doc.Image.Layers...) {
		open := func(ctx context.Context) (io.ReadCloser, error) { return doc.Blob(ctx, d) }
		if err := j.blob(ctx, d, open); err != nil {
			return fmt.Errorf("blob %s: %w", d.Digest, err)
		}
	}
	return j.document(ctx, doc.Raw)
}

// referrers fetches what refers to an image and to the manifests in it: by the
// referrers API, and by the tags that cosign gives its signatures.
func (j *job) referrers(ctx context.Context, root v1.Hash) error {
	parts, err := j.Store.Parts(v1.Descriptor{Digest: root})
	if err != nil {
		return err
	}
	repo, _, _ := strings.Cut(j.res.Ref, "@")
	if at := strings.LastIndexByte(repo, ':'); at > strings.LastIndexByte(repo, '/') {
		repo = repo[:at]
	}
	for _, p := range parts {
		if p.Digest != root && !p.MediaType.IsImage() && !p.MediaType.IsIndex() {
			continue
		}
		if err := j.referrersOf(ctx, repo, p.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) referrersOf(ctx context.Context, repo string, subject v1.Hash) error {
	doc, err := j.Registry.Document(ctx, repo+"@"+subject.String())
	if err != nil {
		return err
	}
	list, err := doc.Referrers(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		child, err := doc.Child(ctx, d)
		if err != nil {
			return err
		}
		if err := j.keepReferrer(ctx, child, repo+"@"+d.Digest.String(), subject); err != nil {
			return err
		}
	}
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		ref := repo + ":" + subject.Algorithm + "-" + subject.Hex + suffix
		child, err := j.Registry.Document(ctx, ref)
		if errors.Is(err, registry.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := j.keepReferrer(ctx, child, ref, subject); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) keepReferrer(ctx context.Context, doc *registry.Document, ref string, subject v1.Hash) error {
	if err := j.tree(ctx, doc, deepest); err != nil {
		return err
	}
	return j.Store.SetRef(store.Record{Ref: ref, Root: doc.Descriptor, ResolvedAt: j.Now(), From: doc.Repository, Subject: &subject})
}

// flights does something once for all who want it at the same time or later.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

// do tells the first who asks what fn told, and the others that it was there.
func (f *flights) do(ctx context.Context, key string, fn func() (bool, error)) (bool, error) {
	f.mu.Lock()
	if f.m == nil {
		f.m = make(map[string]*flight)
	}
	if o, ok := f.m[key]; ok {
		f.mu.Unlock()
		select {
		case <-o.done:
			return false, o.err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	o := &flight{done: make(chan struct{})}
	f.m[key] = o
	f.mu.Unlock()
	fetched, err := fn()
	o.err = err
	if err != nil { // let the next one try
		f.mu.Lock()
		delete(f.m, key)
		f.mu.Unlock()
	}
	close(o.done)
	return fetched, err
}
