package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is an image of one platform, in a registry. Several callers may hold
// the same one: it is not to be changed.
type Image struct {
	Ref        string // in full: docker.io/library/x:tag
	Repository string // where it was found: host/path, another than Ref's behind a map or mirror
	Root       v1.Descriptor
	Manifest   v1.Descriptor // the platform's manifest; Root itself where that is no index
	Platform   v1.Platform   // what the config says; may differ from what was asked for, where there was no choice

	RawRoot     []byte // as fetched; the same as RawManifest where the root is no index
	RawManifest []byte
	RawConfig   []byte
	Config      *v1.ConfigFile

	Layers []Layer // bottom first
}

// Layer is a blob of an image in a registry.
type Layer struct {
	Descriptor v1.Descriptor
	DiffID     v1.Hash // as the config says; not compared with the content here
	// Open reads the blob as it is stored. Its reader asks again for the rest
	// after a broken connection, and reports io.EOF only after size and digest
	// were right; wrong ones are ErrIntegrity, seen at the end. It reads until
	// closed or until ctx ends.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

type imageKey struct{ ref, platform string }

// found is what a reference names, and where it was.
type found struct {
	s   *session
	doc *document
}

// Image resolves a reference to the image of a platform; nil means this
// machine's. A reference to a single image is taken whatever its platform.
//
// Maps and mirrors are asked first, in order. One that does not know the
// reference, does not answer, or answers with a fault of its own (5xx) is passed
// over with a notice. One that does not let us in, whose certificate or content
// is wrong, or that has the reference but not the platform, ends the search: to
// go on elsewhere would hide what is wrong, or get something else.
//
// Equal questions are asked once in a client's life. Errors are *Error.
func (c *Client) Image(ctx context.Context, ref string, p *v1.Platform) (*Image, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	w := want(p)
	return c.images.do(ctx, imageKey{r.String(), w.String()}, func() (*Image, error) {
		root, err := c.roots.do(ctx, r.String(), func() (*found, error) { return c.find(ctx, r) })
		if err != nil {
			return nil, err
		}
		img, err := root.image(ctx, r, w)
		if err != nil {
			return nil, failure("pull", r.String(), root.s.at, err)
		}
		if r.digest != "" {
			return img, nil
		}
		// Whoever resolved a tag comes back with its digest.
		r.digest = img.Root.Digest.String()
		return c.images.do(ctx, imageKey{r.String(), w.String()}, func() (*Image, error) { return img, nil })
	})
}

// find asks one place after the other.
func (c *Client) find(ctx context.Context, r reference) (*found, error) {
	places, err := c.routes.candidates(r.place)
	if err != nil {
		return nil, err
	}
	var passed []error
	for i, p := range places {
		f, err := c.findAt(ctx, p.place, r)
		if err == nil {
			return f, nil
		}
		err = failure("pull", r.String(), p.place, err)
		if ctx.Err() != nil || !passesOver(err) {
			return nil, err
		}
		passed = append(passed, err)
		if i+1 < len(places) {
			c.notice(fmt.Sprintf("%v; going on with %s", err, places[i+1].place))
		}
	}
	return nil, verdict(places, passed)
}

func (c *Client) findAt(ctx context.Context, at place, r reference) (*found, error) {
	s, err := c.session(ctx, sessionKey{dir: pull, at: at})
	if err != nil {
		return nil, err
	}
	doc, err := s.manifest(ctx, r.id(), nil)
	if err != nil {
		return nil, err
	}
	return &found{s, doc}, nil
}

func passesOver(err error) bool {
	te, answered := errors.AsType[*transport.Error](err)
	busy := answered && te.StatusCode == http.StatusTooManyRequests
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnavailable) && !busy
}

// verdict is one error for all places. The origin's word counts; without it,
// what may still change counts most.
func verdict(places []candidate, errs []error) error {
	main := len(errs) - 1
	if !places[main].origin {
		for _, kind := range []error{ErrNotFound, ErrUnavailable} {
			for i, err := range errs {
				if errors.Is(err, kind) {
					main = i
				}
			}
		}
	}
	err := errs[main]
	for i, e := range errs {
		if i != main {
			err = fmt.Errorf("%w; before that: %v", err, e)
		}
	}
	return err
}

// deepest is how far indexes in indexes are followed, unlabelled how many
// entries without a platform are looked into.
const (
	deepest        = 3
	mostUnlabelled = 16
)

// image takes the platform's image out of what was found.
func (f *found) image(ctx context.Context, r reference, w wanted) (*Image, error) {
	img := &Image{Ref: r.String(), Repository: f.s.at.String(), Root: f.doc.desc, RawRoot: f.doc.raw}
	doc := f.doc
	var err error
	if doc.index != nil {
		if doc, err = f.s.descend(ctx, doc, w, deepest); err != nil {
			return nil, err
		}
	}
	img.Manifest, img.RawManifest = doc.desc, doc.raw
	if img.RawConfig, img.Config, err = f.s.config(ctx, doc); err != nil {
		return nil, err
	}
	img.Platform = platformOf(img.Config)
	img.Layers, err = f.s.layers(doc.image, img.Config)
	return img, err
}

// descend finds the platform's manifest below an index.
func (s *session) descend(ctx context.Context, doc *document, w wanted, depth int) (*document, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: indexes in indexes, more than %d deep", ErrUnsupported, deepest)
	}
	best, unlabelled := w.choose(doc.index)
	if best != nil {
		d, err := s.manifest(ctx, best.Digest.String(), best)
		if err != nil || d.image != nil {
			return d, err
		}
		return s.descend(ctx, d, w, depth-1)
	}
	for _, entry := range unlabelled[:min(len(unlabelled), mostUnlabelled)] {
		d, err := s.unlabelled(ctx, entry, w, depth)
		if err != nil || d != nil {
			return d, err
		}
	}
	return nil, w.none(doc.index)
}

// unlabelled looks into an entry that does not say its platform; nil when it does not suit.
func (s *session) unlabelled(ctx context.Context, entry v1.Descriptor, w wanted, depth int) (*document, error) {
	d, err := s.manifest(ctx, entry.Digest.String(), &entry)
	if err != nil {
		return nil, err
	}
	if d.index != nil {
		d, err = s.descend(ctx, d, w, depth-1)
		if errors.Is(err, ErrNoPlatform) {
			return nil, nil
		}
		return d, err
	}
	if !isImageConfig(d.image.Config.MediaType) {
		return nil, nil
	}
	_, conf, err := s.config(ctx, d)
	if err != nil || !w.matches(platformOf(conf)) {
		return nil, err
	}
	return d, nil
}

// isImageConfig also takes what Docker pushed before 1.11.
func isImageConfig(mt types.MediaType) bool {
	return mt.IsConfig() || mt == "application/octet-stream"
}

func (s *session) config(ctx context.Context, doc *document) ([]byte, *v1.ConfigFile, error) {
	d := doc.image.Config
	if !isImageConfig(d.MediaType) {
		return nil, nil, fmt.Errorf("%w: its config is a %s, as artifacts have it", ErrUnsupported, d.MediaType)
	}
	if d.Size > longestDocument {
		return nil, nil, fmt.Errorf("%w: the config has %d bytes, allowed are %d", ErrIntegrity, d.Size, longestDocument)
	}
	r, err := s.blob(ctx, d)
	if err != nil {
		return nil, nil, fmt.Errorf("config %s: %w", d.Digest, err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, nil, fmt.Errorf("config %s: %w", d.Digest, err)
	}
	conf, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: read config %s: %w", ErrIntegrity, d.Digest, err)
	}
	return raw, conf, nil
}

func platformOf(c *v1.ConfigFile) v1.Platform {
	return v1.Platform{
		OS: c.OS, Architecture: c.Architecture, Variant: c.Variant,
		OSVersion: c.OSVersion, OSFeatures: c.OSFeatures,
	}
}

// layers pairs the manifest's layers with the config's diff IDs.
func (s *session) layers(m *v1.Manifest, c *v1.ConfigFile) ([]Layer, error) {
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: the manifest has %d layers, the config %d diff IDs", ErrUnsupported, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	s.c.seen.add(s.at, m.Config.Digest)
	ls := make([]Layer, 0, len(m.Layers))
	for i, d := range m.Layers {
		if !isLayerType(d.MediaType) {
			return nil, fmt.Errorf("%w: layer %d is a %s", ErrUnsupported, i+1, d.MediaType)
		}
		s.c.seen.add(s.at, d.Digest)
		ls = append(ls, Layer{Descriptor: d, DiffID: c.RootFS.DiffIDs[i], Open: func(ctx context.Context) (io.ReadCloser, error) {
			r, err := s.blob(ctx, d)
			if err != nil {
				return nil, failure("pull", s.at.String()+"@"+d.Digest.String(), s.at, err)
			}
			return r, nil
		}})
	}
	return ls, nil
}

// isLayerType also takes what BuildKit writes into Docker's kind of manifest for zstd.
func isLayerType(mt types.MediaType) bool {
	return mt.IsLayer() || mt == "application/vnd.docker.image.rootfs.diff.tar.zstd"
}

// seenBlobs remembers where blobs are, for mounts into other repositories of
// the same registry. The zero value is ready.
type seenBlobs struct{ m sync.Map }

type seenKey struct {
	host   string
	digest v1.Hash
}

func (s *seenBlobs) add(at place, d v1.Hash) { s.m.LoadOrStore(seenKey{at.host, d}, at.path) }

func (s *seenBlobs) get(host string, d v1.Hash) string {
	v, _ := s.m.Load(seenKey{host, d})
	path, _ := v.(string)
	return path
}

// HostPlatform is the platform of this machine, as Image takes it for nil.
func HostPlatform() v1.Platform {
	s := platforms.DefaultSpec()
	return v1.Platform{OS: s.OS, Architecture: s.Architecture, Variant: s.Variant}
}
