package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Contents has documents and blobs by digest, as a registry has, in another
// place. What it does not have is fs.ErrNotExist.
type Contents interface {
	// Document reads an index, a manifest or a config whole; it has been compared
	// with its digest. The descriptor's size is not known where it is 0.
	Document(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Blob opens a blob. Its reader reports io.EOF only after the digest was right.
	Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// ImageFrom puts the image of a platform together from what c has: root is what
// ref names. The platform is chosen as Client.Image does. Nothing is read but the
// documents, so layers may be missing.
func ImageFrom(ctx context.Context, c Contents, ref string, root v1.Descriptor, p *v1.Platform) (*Image, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	a := &assembly{c: c, want: want(p)}
	doc, err := a.document(ctx, root)
	if err != nil {
		return nil, err
	}
	img := &Image{Ref: r.String(), Repository: r.place.String(), Root: doc.desc, RawRoot: doc.raw}
	if doc.index != nil {
		if doc, err = a.descend(ctx, doc, deepest); err != nil {
			return nil, err
		}
	}
	img.Manifest, img.RawManifest = doc.desc, doc.raw
	if img.RawConfig, img.Config, err = a.config(ctx, doc); err != nil {
		return nil, err
	}
	img.Platform = platformOf(img.Config)
	img.Layers, err = a.layers(doc, img.Config)
	return img, err
}

// Choose gives the entry of an index that suits a platform best, as Client.Image
// does; nil means this machine's. Where none does, it is ErrNoPlatform.
func Choose(index *v1.IndexManifest, p *v1.Platform) (v1.Descriptor, error) {
	w := want(p)
	best, _ := w.choose(index)
	if best == nil {
		return v1.Descriptor{}, w.none(index)
	}
	return *best, nil
}

// assembly is an image being put together.
type assembly struct {
	c    Contents
	want wanted
}

func (a *assembly) document(ctx context.Context, d v1.Descriptor) (*document, error) {
	raw, err := a.c.Document(ctx, d)
	if err != nil {
		return nil, err
	}
	doc := &document{raw: raw, desc: v1.Descriptor{Digest: d.Digest, Size: int64(len(raw))}}
	return doc, doc.parse(string(d.MediaType))
}

func (a *assembly) descend(ctx context.Context, doc *document, depth int) (*document, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: indexes in indexes, more than %d deep", ErrUnsupported, deepest)
	}
	best, unlabelled := a.want.choose(doc.index)
	if best != nil {
		d, err := a.document(ctx, *best)
		if err != nil || d.image != nil {
			return d, err
		}
		return a.descend(ctx, d, depth-1)
	}
	for _, entry := range unlabelled[:min(len(unlabelled), mostUnlabelled)] {
		d, err := a.document(ctx, entry)
		if err != nil {
			return nil, err
		}
		if d.index != nil {
			if d, err = a.descend(ctx, d, depth-1); err == nil || !errors.Is(err, ErrNoPlatform) {
				return d, err
			}
			continue
		}
		if _, conf, err := a.config(ctx, d); err == nil && a.want.matches(platformOf(conf)) {
			return d, nil
		}
	}
	return nil, a.want.none(doc.index)
}

func (a *assembly) config(ctx context.Context, doc *document) ([]byte, *v1.ConfigFile, error) {
	d := doc.image.Config
	if !isImageConfig(d.MediaType) {
		return nil, nil, fmt.Errorf("%w: its config is a %s, as artifacts have it", ErrUnsupported, d.MediaType)
	}
	raw, err := a.c.Document(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	conf, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: read config %s: %w", ErrIntegrity, d.Digest, err)
	}
	return raw, conf, nil
}

func (a *assembly) layers(doc *document, conf *v1.ConfigFile) ([]Layer, error) {
	m := doc.image
	if len(m.Layers) != len(conf.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: the manifest has %d layers, the config %d diff IDs", ErrUnsupported, len(m.Layers), len(conf.RootFS.DiffIDs))
	}
	var ls []Layer
	for i, d := range m.Layers {
		if !isLayerType(d.MediaType) {
			return nil, fmt.Errorf("%w: layer %d is a %s", ErrUnsupported, i+1, d.MediaType)
		}
		ls = append(ls, Layer{Descriptor: d, DiffID: conf.RootFS.DiffIDs[i], Open: func(ctx context.Context) (io.ReadCloser, error) {
			return a.c.Blob(ctx, d)
		}})
	}
	return ls, nil
}

// ParsePlatform reads "os/arch[/variant]", or an architecture alone for Linux, in
// the spellings that are about: x86_64, aarch64, armhf.
func ParsePlatform(s string) (*v1.Platform, error) {
	p, err := platforms.Parse(s)
	if err != nil {
		return nil, err
	}
	p = platforms.Normalize(p)
	return &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}, nil
}
