package source

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// LayoutImage is an image of one platform in an OCI layout.
type LayoutImage struct {
	Root     v1.Descriptor // what was asked for: an index or a manifest
	Manifest v1.Descriptor // the platform's manifest; Root itself where that is no index
	Platform v1.Platform   // what the config says

	RawRoot     []byte
	RawManifest []byte
	RawConfig   []byte
	Config      *v1.ConfigFile

	Layers []layer.Blob // bottom first
}

// OCILayout finds an image in the OCI layout in dir (OCI image specification,
// "Image Layout"). ref is a digest, with or without a name before "@", or a
// name that index.json has for it; empty is the only image that there is. p
// chooses from an index, nil being this machine's platform; an image that is in
// no index is taken whatever its platform. Documents are compared with their
// digests here, layers when they are read.
func OCILayout(ctx context.Context, dir, ref string, p *ocispecs.Platform) (*LayoutImage, error) {
	img, err := ociLayout(ctx, dir, ref, p)
	if err != nil {
		return nil, fmt.Errorf("image %q in OCI layout %s: %w", ref, dir, err)
	}
	return img, nil
}

func ociLayout(ctx context.Context, dir, ref string, p *ocispecs.Platform) (*LayoutImage, error) {
	r, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	l := &layoutDir{root: r}
	if err := l.checkVersion(); err != nil {
		return nil, err
	}
	desc, err := l.find(ref)
	if err != nil {
		return nil, err
	}
	img := &LayoutImage{}
	doc, err := l.document(desc)
	if err != nil {
		return nil, err
	}
	img.Root, img.RawRoot = doc.desc, doc.raw
	want := platforms.DefaultSpec()
	if p != nil {
		want = *p
	}
	for range maxIndexes {
		if doc.image != nil {
			img.Manifest, img.RawManifest = doc.desc, doc.raw
			return img, l.complete(img, doc.image)
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		entry, err := choose(doc.index, want)
		if err != nil {
			return nil, err
		}
		if doc, err = l.document(entry); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d indexes in each other", maxIndexes)
}

// maxIndexes is how deep indexes may be in each other.
const maxIndexes = 4

// layoutDir is an OCI layout held open.
type layoutDir struct{ root *root }

func (l *layoutDir) checkVersion() error {
	data, err := l.small("oci-layout")
	if err != nil {
		return err
	}
	var v ocispecs.ImageLayout
	if err := json.Unmarshal(data, &v); err != nil || !strings.HasPrefix(v.Version, "1.") {
		return fmt.Errorf("oci-layout: not version 1: %.100q", data)
	}
	return nil
}

// find says what ref names.
func (l *layoutDir) find(ref string) (v1.Descriptor, error) {
	if _, d, ok := strings.Cut(ref, "@"); ok {
		return byDigest(d)
	}
	if strings.HasPrefix(ref, "sha256:") {
		return byDigest(ref)
	}
	data, err := l.small("index.json")
	if err != nil {
		return v1.Descriptor{}, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("index.json: %w", err)
	}
	if ref == "" && len(index.Manifests) == 1 {
		return index.Manifests[0], nil
	}
	tag := ref[strings.LastIndexAny(ref, ":/")+1:]
	var names []string
	for _, name := range []string{ref, tag} {
		for _, d := range index.Manifests {
			has := []string{d.Annotations[ocispecs.AnnotationRefName], d.Annotations["io.containerd.image.name"]}
			if name != "" && slices.Contains(has, name) {
				return d, nil
			}
			names = append(names, has[0])
		}
	}
	slices.Sort(names)
	return v1.Descriptor{}, fmt.Errorf("index.json has %d images, none of that name but %q", len(index.Manifests), slices.Compact(names))
}

func byDigest(s string) (v1.Descriptor, error) {
	h, err := v1.NewHash(s)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("digest %q: %w", s, err)
	}
	return v1.Descriptor{Digest: h, Size: -1}, nil
}

// choose gives the entry of an index that suits best; as in registries, never
// one for another architecture.
func choose(index *v1.IndexManifest, want ocispecs.Platform) (v1.Descriptor, error) {
	want = platforms.Normalize(want)
	match := platforms.Only(want)
	var best *v1.Descriptor
	var have []string
	spec := func(p *v1.Platform) ocispecs.Platform {
		return platforms.Normalize(ocispecs.Platform{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
		})
	}
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" || !(d.MediaType.IsImage() || d.MediaType.IsIndex()) {
			continue
		}
		s := spec(d.Platform)
		have = append(have, platforms.FormatAll(s))
		if s.Architecture == want.Architecture && match.Match(s) && (best == nil || match.Less(s, spec(best.Platform))) {
			best = &d
		}
	}
	if best == nil && len(index.Manifests) == 1 && index.Manifests[0].Platform == nil {
		best = &index.Manifests[0]
	}
	if best == nil {
		return v1.Descriptor{}, fmt.Errorf("no image for %s, only for %s", platforms.FormatAll(want), strings.Join(have, ", "))
	}
	return *best, nil
}

// complete fills in what a manifest points to.
func (l *layoutDir) complete(img *LayoutImage, m *v1.Manifest) error {
	if !m.Config.MediaType.IsConfig() {
		return fmt.Errorf("manifest %s: the config is a %q: no image", img.Manifest.Digest, m.Config.MediaType)
	}
	var err error
	if img.RawConfig, err = l.all(m.Config); err != nil {
		return err
	}
	if img.Config, err = v1.ParseConfigFile(bytes.NewReader(img.RawConfig)); err != nil {
		return fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	c := img.Config
	img.Platform = v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant, OSVersion: c.OSVersion, OSFeatures: c.OSFeatures}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("manifest %s: %d layers, but %d diff IDs", img.Manifest.Digest, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for i, d := range m.Layers {
		if !d.MediaType.IsLayer() && d.MediaType != "application/vnd.docker.image.rootfs.diff.tar.zstd" {
			return fmt.Errorf("manifest %s: layer %d is a %q", img.Manifest.Digest, i+1, d.MediaType)
		}
		img.Layers = append(img.Layers, layer.Blob{
			Digest: d.Digest, Size: d.Size, DiffID: c.RootFS.DiffIDs[i], MediaType: d.MediaType,
			Open:       func() (io.ReadCloser, error) { return l.blob(d) },
			Descriptor: &d,
		})
	}
	return nil
}

// maxDocument is how long an index, a manifest or a config may be.
const maxDocument = 32 << 20

// file opens a regular file of the layout.
func (l *layoutDir) file(p string) (*os.File, int64, error) {
	fd, err := l.root.open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", p, err)
	}
	f := os.NewFile(uintptr(fd), p)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", p)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

// small reads a file that has no digest.
func (l *layoutDir) small(p string) ([]byte, error) {
	f, size, err := l.file(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxDocument {
		return nil, fmt.Errorf("read %s: %d bytes: more than the limit of %d", p, size, maxDocument)
	}
	return io.ReadAll(io.LimitReader(f, maxDocument))
}

// layoutDoc is an index or an image manifest.
type layoutDoc struct {
	desc  v1.Descriptor
	raw   []byte
	index *v1.IndexManifest
	image *v1.Manifest
}

// document reads an index or a manifest. What could be read as both is refused
// (CVE-2021-41190).
func (l *layoutDir) document(d v1.Descriptor) (*layoutDoc, error) {
	raw, err := l.all(d)
	if err != nil {
		return nil, err
	}
	var probe struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Config    json.RawMessage `json:"config"`
		Layers    json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, fmt.Errorf("%s: neither an index nor a manifest: %w", d.Digest, err)
	}
	isIndex, isImage := probe.Manifests != nil, probe.Config != nil || probe.Layers != nil
	d.Size = int64(len(raw))
	if probe.MediaType != "" {
		d.MediaType = probe.MediaType
	}
	switch {
	case isIndex == isImage:
		return nil, fmt.Errorf("%s: neither an index nor a manifest, or both", d.Digest)
	case isIndex && d.MediaType == "":
		d.MediaType = types.OCIImageIndex
	case isImage && d.MediaType == "":
		d.MediaType = types.OCIManifestSchema1
	}
	doc := &layoutDoc{desc: d, raw: raw}
	switch {
	case isIndex && d.MediaType.IsIndex():
		doc.index, err = v1.ParseIndexManifest(bytes.NewReader(raw))
	case isImage && d.MediaType.IsImage():
		doc.image, err = v1.ParseManifest(bytes.NewReader(raw))
	default:
		err = fmt.Errorf("it says %q but is not one", d.MediaType)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, err)
	}
	return doc, nil
}
