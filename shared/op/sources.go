package op

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/op/source"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/warmed"
)

// Resolver finds base images by reference, as registry.Client does; nil means
// this machine's platform.
type Resolver interface {
	Image(ctx context.Context, ref string, p *v1.Platform) (*registry.Image, error)
}

// Sources fetches what a build starts from. Its fields are set once, before the
// first call.
type Sources struct {
	Workspace *tree.Workspace
	Registry  Resolver     // of base images
	HTTP      *http.Client // nil is a plain one
	Secrets   run.Secrets
	SSH       run.Agents
	// Locals are the directories of local contexts, by name; Layouts those of OCI layouts.
	Locals, Layouts map[string]string
	// Tables are local contexts that were fetched; they go before Locals.
	Tables map[string]*layer.Table
	// Fetched, where set, is told the digest of what an address on the web or in a
	// repository turned out to be, under in-toto's name for its kind. It is called
	// from many goroutines.
	Fetched func(identifier, kind, digest string)
	// Offline fetches nothing but what Registry gives: a *warmed.MissingError is in
	// its place.
	Offline bool
}

// AddressOf is the address of a source that is no image and not here, without secrets;
// "" for any other.
func AddressOf(o *graph.Source) string {
	req, err := source.Parse(o)
	if err != nil {
		return ""
	}
	switch r := req.(type) {
	case *source.HTTPRequest:
		if strings.Contains(r.URL, "?") {
			return source.Bare(r.URL) + "?…" // which may be a signature
		}
		return source.Bare(r.URL)
	case *source.GitRequest:
		return source.Bare(r.Remote)
	}
	return ""
}

// allowed tells whether a source may be fetched.
func (s *Sources) allowed(o *graph.Source) error {
	if address := AddressOf(o); s.Offline && address != "" {
		return &warmed.MissingError{Fetched: []string{address}}
	}
	return nil
}

// Fetch gives the tree of a source. A base image is not downloaded by that.
func (s *Sources) Fetch(ctx context.Context, v *graph.Vertex, o *graph.Source) (tree.Tree, error) {
	if err := s.allowed(o); err != nil {
		return tree.Tree{}, err
	}
	req, err := source.Parse(o)
	if err != nil {
		return tree.Tree{}, err
	}
	switch r := req.(type) {
	case *source.ImageRequest:
		return s.base(ctx, r.Ref, "", v.Platform, r.LayerLimit)
	case *source.LayoutRequest:
		return s.base(ctx, r.Ref, r.Store, v.Platform, r.LayerLimit)
	}
	t, err := s.table(ctx, o.Identifier, req)
	if err != nil {
		return tree.Tree{}, err
	}
	return tree.Of(s.Workspace.FromTable(t)), nil
}

// table fetches what is not an image.
func (s *Sources) table(ctx context.Context, identifier string, req source.Request) (*layer.Table, error) {
	switch r := req.(type) {
	case *source.LocalRequest:
		if t, ok := s.Tables[r.Name]; ok {
			return source.Select(ctx, t, r.Filter)
		}
		dir, ok := s.Locals[r.Name]
		if !ok {
			return nil, fmt.Errorf("context %q: not given; name its directory with --build-context %s=DIR", r.Name, r.Name)
		}
		return source.Local(ctx, dir, r.Filter)
	case *source.HTTPRequest:
		var err error
		if r.Dir, err = s.Workspace.NewDir(); err != nil {
			return nil, err
		}
		r.Secrets = s.secret
		t, info, err := source.HTTP(ctx, s.client(), *r)
		s.fetched(identifier, "sha256", func() string { return info.Digest.Encoded() }, err)
		return t, err
	case *source.GitRequest:
		t, info, err := s.git(ctx, r)
		s.fetched(identifier, "gitCommit", func() string { return info.Commit }, err)
		return t, err
	}
	return nil, fmt.Errorf("sources of the kind %s are not known", req.Kind())
}

func (s *Sources) fetched(identifier, kind string, digest func() string, err error) {
	if err == nil && s.Fetched != nil {
		s.Fetched(identifier, kind, digest())
	}
}

func (s *Sources) git(ctx context.Context, r *source.GitRequest) (_ *layer.Table, _ source.GitInfo, err error) {
	if r.Dir, err = s.Workspace.NewDir(); err != nil {
		return nil, source.GitInfo{}, err
	}
	r.Client, r.Secrets = s.client(), s.secret
	if s.SSH != nil {
		r.Dial = func(id string) (io.ReadWriteCloser, bool, error) { return s.SSH.Dial(ctx, id) }
	}
	return source.Git(ctx, *r)
}

func (s *Sources) client() *http.Client {
	if s.HTTP != nil {
		return s.HTTP
	}
	return &http.Client{}
}

func (s *Sources) secret(id string) ([]byte, bool) {
	if s.Secrets == nil {
		return nil, false
	}
	v, ok, err := s.Secrets.Secret(id)
	return v, ok && err == nil
}

// Ahead has a source looked for where layers are kept, before somebody asks for it.
func (s *Sources) Ahead(ctx context.Context, v *graph.Vertex, o *graph.Source) error {
	req, err := source.Parse(o)
	r, ok := req.(*source.ImageRequest)
	if err != nil || !ok || s.Workspace.Kept == nil {
		return err
	}
	b, err := s.Base(ctx, r.Ref, "", v.Platform)
	if err != nil {
		return err
	}
	var layers []v1.Hash
	for _, l := range b.Layers {
		layers = append(layers, l.Digest)
	}
	s.Workspace.Kept.Ahead(ctx, layers)
	return nil
}

// Base is a base image: what a FROM names.
type Base struct {
	Ref    string
	Root   v1.Hash // of what the reference names: of the index, if it is one
	Config []byte
	Layers []layer.Blob
}

// Base resolves an image: in the OCI layout of that name, or, when it is empty,
// in a registry.
func (s *Sources) Base(ctx context.Context, ref, layout string, p *ocispecs.Platform) (*Base, error) {
	if layout != "" {
		return s.layoutBase(ctx, ref, layout, p)
	}
	img, err := s.Registry.Image(ctx, ref, platform(p))
	if err != nil {
		return nil, err
	}
	// A blob may be read long after the question that found it was answered.
	later := context.WithoutCancel(ctx)
	b := &Base{Ref: img.Ref, Root: img.Root.Digest, Config: img.RawConfig}
	for _, l := range img.Layers {
		b.Layers = append(b.Layers, layer.Blob{
			Digest: l.Descriptor.Digest, Size: l.Descriptor.Size, DiffID: l.DiffID, MediaType: l.Descriptor.MediaType,
			Open:        func() (io.ReadCloser, error) { return l.Open(later) },
			OpenContext: l.Open,
			Repository:  img.Repository, Descriptor: &l.Descriptor,
		})
	}
	return b, nil
}

func (s *Sources) layoutBase(ctx context.Context, ref, layout string, p *ocispecs.Platform) (*Base, error) {
	dir, ok := s.Layouts[layout]
	if !ok {
		return nil, fmt.Errorf("OCI layout %q: not given; name its directory with --build-context %s=oci-layout://DIR", layout, layout)
	}
	img, err := source.OCILayout(ctx, dir, ref, p)
	if err != nil {
		return nil, err
	}
	return &Base{Ref: ref, Root: img.Root.Digest, Config: img.RawConfig, Layers: img.Layers}, nil
}

// base is the tree of a base image, or of its lowest layers.
func (s *Sources) base(ctx context.Context, ref, layout string, p *ocispecs.Platform, limit int) (tree.Tree, error) {
	b, err := s.Base(ctx, ref, layout, p)
	if err != nil {
		return tree.Tree{}, err
	}
	layers := b.Layers
	if limit >= 0 && limit < len(layers) {
		layers = layers[:limit]
	}
	if p != nil && p.OS == "windows" {
		return s.Workspace.WindowsBase(layers), nil
	}
	return s.Workspace.Base(layers), nil
}

// platform is a platform as go-containerregistry has it; nil stays nil, which
// means the host's.
func platform(p *ocispecs.Platform) *v1.Platform {
	if p == nil {
		return nil
	}
	return &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// Time says when an http or git source was made; nil when nobody knows.
func (s *Sources) Time(ctx context.Context, o *graph.Source) (*time.Time, error) {
	if err := s.allowed(o); err != nil {
		return nil, err
	}
	req, err := source.Parse(o)
	if err != nil {
		return nil, err
	}
	var t time.Time
	switch r := req.(type) {
	case *source.HTTPRequest:
		if r.Dir, err = s.Workspace.NewDir(); err != nil {
			return nil, err
		}
		r.Secrets = s.secret
		var info source.HTTPInfo
		if _, info, err = source.HTTP(ctx, s.client(), *r); err != nil {
			return nil, err
		}
		t = info.LastModified
	case *source.GitRequest:
		var info source.GitInfo
		if _, info, err = s.git(ctx, r); err != nil {
			return nil, err
		}
		t = info.Time
	}
	if t.IsZero() {
		return nil, nil
	}
	return &t, nil
}
