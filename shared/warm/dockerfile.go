package warm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warmed"
)

// Dockerfile is a Dockerfile whose base images are to be warmed.
type Dockerfile struct {
	Name      string // for messages
	Content   []byte
	BuildArgs map[string]string
	// Target is a stage; "" is all of them.
	Target    string
	Platforms []v1.Platform // none is this machine's
}

// Find lists the images that a build of the Dockerfile fetches: of FROM,
// COPY --from and RUN --mount, and what ONBUILD adds to them.
func (w *Warmer) Find(ctx context.Context, d Dockerfile) ([]Image, error) {
	e := &finder{w: w, content: d.Content}
	req := frontend.Request{Filename: "Dockerfile", Target: d.Target, BuildArgs: d.BuildArgs}
	for _, p := range d.Platforms {
		req.Platforms = append(req.Platforms, ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion})
	}
	list := frontend.AllImages
	if d.Target != "" {
		list = frontend.Images
	}
	needed, err := list(ctx, req, e)
	if err != nil {
		return nil, fmt.Errorf("find the base images of %s: %w", d.Name, err)
	}
	var out []Image
	for _, n := range needed {
		if n.Err != nil {
			return nil, fmt.Errorf("find the base images of %s: %w", d.Name, n.Err)
		}
		img := Image{Ref: n.Ref}
		if n.Platform != nil {
			img.Platforms = []v1.Platform{platformOf(*n.Platform)}
		}
		out = append(out, img)
	}
	return merge(out), nil
}

func platformOf(p ocispecs.Platform) v1.Platform {
	p = platforms.Normalize(p)
	return v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// finder answers the frontend about a Dockerfile that has no context.
type finder struct {
	w       *Warmer
	content []byte
}

func (f *finder) ImageConfig(ctx context.Context, q frontend.ImageQuery) (*frontend.Image, error) {
	if q.Layout != "" {
		return nil, fmt.Errorf("%s: images in OCI layouts are not warmed", q.Ref)
	}
	var p *v1.Platform
	if q.Platform != nil {
		want := platformOf(*q.Platform)
		p = &want
	}
	img, err := f.w.Registry.Image(ctx, q.Ref, p)
	if err != nil {
		return nil, err
	}
	return &frontend.Image{Digest: digest.Digest(img.Root.Digest.String()), Config: img.RawConfig}, nil
}

// Open gives a context of nothing but the Dockerfile.
func (f *finder) Open(context.Context, *graph.Graph) (fs.FS, error) { return oneFile(f.content), nil }

func (f *finder) SourceTime(context.Context, *graph.Source) (*time.Time, error) { return nil, nil }

// oneFile is a file system with a Dockerfile in it.
type oneFile []byte

func (o oneFile) Open(name string) (fs.File, error) {
	switch path.Clean(name) {
	case "Dockerfile":
		return &openFile{Reader: bytes.NewReader(o), size: int64(len(o))}, nil
	case ".":
		return &openFile{Reader: bytes.NewReader(nil), dir: true}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

type openFile struct {
	*bytes.Reader
	size int64
	dir  bool
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o, nil }
func (o *openFile) Close() error               { return nil }
func (o *openFile) Name() string               { return "Dockerfile" }
func (o *openFile) Size() int64                { return o.size }
func (o *openFile) ModTime() time.Time         { return time.Time{} }
func (o *openFile) IsDir() bool                { return o.dir }
func (o *openFile) Sys() any                   { return nil }

func (o *openFile) Mode() fs.FileMode {
	if o.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

func (o *openFile) ReadDir(int) ([]fs.DirEntry, error) {
	if !o.dir {
		return nil, errors.New("not a directory")
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(&openFile{})}, nil
}

// Lock writes down what the tags of images are now. What is named by a digest
// needs none.
func (w *Warmer) Lock(ctx context.Context, images []Image) (*warmed.Lock, error) {
	lock := warmed.NewLock()
	for _, want := range images {
		full, err := store.Canonical(want.Ref)
		if err != nil {
			return nil, err
		}
		if isDigest(full) {
			continue
		}
		doc, err := w.Registry.Document(ctx, want.Ref)
		if err != nil {
			return nil, err
		}
		lock.Images[full] = warmed.Locked{Digest: doc.Descriptor.Digest}
	}
	return lock, nil
}
