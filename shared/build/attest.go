package build

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/image"
	"github.com/strake-build/strake/shared/op/source"
	"github.com/strake-build/strake/shared/sbom"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/version"
)

// Attestations say what is to be told of the images. The zero value tells nothing.
type Attestations struct {
	Provenance attest.Options
	SBOM       []sbom.Format
	// Names are the images' names: repositories, each with its tag or nothing.
	Names []Name
	// Index puts what is told into an index beside the images.
	Index bool
}

// Name is a repository, without docker.io, and a tag or nothing.
type Name struct{ Repository, Tag string }

// Attested is an image with what is told of it.
type Attested struct {
	Image      v1.Image
	Platform   string
	Statements []attest.Statement
	// Manifest carries the statements.
	Manifest v1.Image
}

// wanted tells whether anything is to be told.
func (a Attestations) wanted() bool { return a.Provenance.Mode != attest.Off || len(a.SBOM) > 0 }

// origins remembers what was fetched, for the provenance.
type origins struct {
	mu      sync.Mutex
	digests map[string]map[string]string // by source
	context attest.Resource
}

// fetched is told what an address turned out to be.
func (o *origins) fetched(identifier, kind, digest string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.digests == nil {
		o.digests = make(map[string]map[string]string)
	}
	o.digests[identifier] = map[string]string{kind: digest}
}

func (o *origins) of(identifier string) map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.digests[identifier]
}

// fetchedContext is told where the build context came from.
func (o *origins) fetchedContext(c *buildcontext.Context) {
	o.context = attest.Resource{URI: c.URI, Digest: c.Digest}
}

// attest tells of one platform's image.
func (e *engine) attest(ctx context.Context, img v1.Image, t tree.Tree, res *frontend.Result, p frontend.PlatformResult, epoch *time.Time, started time.Time) (*Attested, error) {
	a := &Attested{Image: img, Platform: platforms.Format(p.Platform)}
	var predicates []attest.Predicate
	if e.req.Attestations.Provenance.Mode != attest.Off {
		facts, err := e.facts(ctx, res, p, epoch, started)
		if err != nil {
			return nil, fmt.Errorf("provenance for %s: %w", a.Platform, err)
		}
		one, err := e.req.Attestations.Provenance.Provenance(facts)
		if err != nil {
			return nil, err
		}
		predicates = append(predicates, one)
	}
	boms, err := e.boms(ctx, img, t, epoch)
	if err != nil {
		return nil, fmt.Errorf("SBOM for %s: %w", a.Platform, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	a.Statements = attest.State(digest, e.subjects(a.Platform), append(predicates, boms...))
	about, err := descriptor(img)
	if err != nil {
		return nil, err
	}
	a.Manifest, err = attest.Manifest(about, a.Statements)
	return a, err
}

func descriptor(img v1.Image) (d v1.Descriptor, err error) {
	if d.Digest, err = img.Digest(); err != nil {
		return d, err
	}
	if d.Size, err = img.Size(); err != nil {
		return d, err
	}
	d.MediaType, err = img.MediaType()
	return d, err
}

func (e *engine) subjects(platform string) (out []string) {
	for _, n := range e.req.Attestations.Names {
		out = append(out, attest.Name(n.Repository, n.Tag, platform))
	}
	return out
}

// boms lists what is in the image.
func (e *engine) boms(ctx context.Context, img v1.Image, t tree.Tree, epoch *time.Time) (out []attest.Predicate, err error) {
	if len(e.req.Attestations.SBOM) == 0 {
		return nil, nil
	}
	v, err := t.View(ctx)
	if err != nil {
		return nil, err
	}
	found, err := sbom.Scan(ctx, v)
	if err != nil {
		return nil, err
	}
	for _, n := range found.Notices {
		logger(ctx).Warn().Msgf("SBOM: %s", n)
	}
	d, err := img.Digest()
	if err != nil {
		return nil, err
	}
	about := sbom.About{Digest: d, Created: e.b.Now().UTC(), Tool: "strake-" + version.Get().Version}
	if epoch != nil {
		about.Created = epoch.UTC()
	}
	if len(e.req.Attestations.Names) > 0 {
		n := e.req.Attestations.Names[0]
		about.Name, about.Version = n.Repository, n.Tag
	}
	for _, f := range e.req.Attestations.SBOM {
		raw, err := found.Write(f, about)
		if err != nil {
			return nil, err
		}
		kind := attest.TypeSPDX
		if f == sbom.CycloneDX {
			kind = attest.TypeCycloneDX
		}
		out = append(out, attest.Predicate{Type: kind, Content: raw})
	}
	return out, nil
}

// facts are what happened in the build of one platform.
func (e *engine) facts(ctx context.Context, res *frontend.Result, p frontend.PlatformResult, epoch *time.Time, started time.Time) (attest.Facts, error) {
	req := &e.req
	f := attest.Facts{
		Context: e.origins.context, Target: req.Frontend.Target, Platform: platforms.Format(p.Platform),
		Contexts: e.namedContexts(), Args: req.Frontend.BuildArgs, Labels: req.Frontend.Labels,
		BuilderPlatform: runtime.GOOS + "/" + runtime.GOARCH, Version: version.Get().Version,
		Settings: attest.Settings{
			Format: string(req.Format), Compression: req.Pack.Compression.String(), SingleSnapshot: req.SingleSnapshot, Reproducible: req.Reproducible,
		},
	}
	if d := res.Dockerfile; d != nil {
		f.Dockerfile = attest.Dockerfile{Path: d.Name, Digest: attest.Bytes(d.Data)}
	}
	if epoch != nil {
		f.Settings.Epoch = new(epoch.Unix())
	} else {
		f.Started, f.Finished = started, e.b.Now()
	}
	number := make(map[*graph.Vertex]int)
	for i, v := range p.Graph.Vertices {
		number[v] = i
		f.Steps = append(f.Steps, step(v, number))
		if o, ok := v.Op.(*graph.Source); ok {
			if err := e.dependency(ctx, &f, v, o); err != nil {
				return f, err
			}
		}
	}
	if len(f.Context.Digest) > 0 {
		f.Dependencies = append(f.Dependencies, f.Context)
	}
	return f, nil
}

func step(v *graph.Vertex, number map[*graph.Vertex]int) attest.Step {
	s := attest.Step{Name: v.Name}
	if n := len(v.Positions); n > 0 {
		at := v.Positions[n-1]
		if s.Lines = fmt.Sprint(at.Start); at.End > at.Start {
			s.Lines += fmt.Sprint("-", at.End)
		}
	}
	for _, i := range v.Inputs {
		if i.Vertex != nil {
			s.Inputs = append(s.Inputs, number[i.Vertex])
		}
	}
	return s
}

// namedContexts are as the user gave them; a directory has no address.
func (e *engine) namedContexts() map[string]string {
	out := maps.Clone(e.req.Frontend.Contexts)
	for name, v := range out {
		if strings.HasPrefix(v, "local:") {
			out[name] = "local"
		}
	}
	return out
}

// dependency adds what a source turned out to be.
func (e *engine) dependency(ctx context.Context, f *attest.Facts, v *graph.Vertex, o *graph.Source) error {
	r, err := source.Parse(o)
	if err != nil {
		return err
	}
	platform := ""
	if v.Platform != nil {
		platform = platforms.Format(*v.Platform)
	}
	var x attest.Resource
	switch r := r.(type) {
	case *source.ImageRequest:
		x = baseImage(r.Ref, platform)
	case *source.LayoutRequest:
		_, digest, _ := strings.Cut(r.Ref, "@")
		x = attest.Resource{Name: "oci-layout:" + r.Store, Digest: digestSet(digest)}
	case *source.HTTPRequest:
		if x = (attest.Resource{URI: r.URL, Digest: e.origins.of(o.Identifier)}); x.Digest == nil {
			x.Digest = digestSet(r.Checksum.String()) // a step that was done before made fetching it needless
		}
	case *source.GitRequest:
		if x = (attest.Resource{URI: r.Remote + "#" + r.Ref, Digest: e.origins.of(o.Identifier)}); x.Digest == nil && r.Checksum != "" {
			x.Digest = map[string]string{"gitCommit": r.Checksum}
		}
	case *source.LocalRequest:
		return e.localDependency(ctx, f, v, r.Name)
	}
	f.Dependencies = append(f.Dependencies, x)
	return nil
}

// localDependency adds a directory, as the build saw it.
func (e *engine) localDependency(ctx context.Context, f *attest.Facts, v *graph.Vertex, name string) error {
	if name == "context" && len(e.origins.context.Digest) > 0 {
		return nil // an archive or a commit, which says more
	}
	t, err := e.solver.Tree(ctx, graph.Edge{Vertex: v})
	if err != nil {
		return err
	}
	view, err := t.View(ctx)
	if err != nil {
		return err
	}
	sum, err := view.DirHash(ctx)
	if err != nil {
		return err
	}
	for given, v := range e.req.Frontend.Contexts {
		if v == "local:"+name {
			name = given
		}
	}
	x := attest.Resource{Name: name, Digest: map[string]string{"dirHash": sum}}
	if name == "context" {
		f.Context = x
	}
	f.Dependencies = append(f.Dependencies, x)
	return nil
}

// baseImage is an image by its name and digest.
func baseImage(ref, platform string) attest.Resource {
	named, digest, _ := strings.Cut(ref, "@")
	x := attest.Resource{URI: "docker-image://" + named, Digest: digestSet(digest)}
	if n, err := reference.ParseNormalizedNamed(named); err == nil {
		tag := ""
		if t, ok := n.(reference.Tagged); ok {
			tag = t.Tag()
		}
		x.URI = attest.Name(reference.FamiliarName(n), tag, platform)
	}
	return x
}

func digestSet(d string) map[string]string {
	algorithm, hex, ok := strings.Cut(d, ":")
	if !ok {
		return nil
	}
	return map[string]string{algorithm: hex}
}

// together makes an index of images and of what is told of them, as BuildKit
// lays it out: the images first.
func together(parts []image.Platformed, told []Attested, format image.Format, annotations map[string]string) (v1.ImageIndex, error) {
	for _, a := range told {
		d, err := a.Image.Digest()
		if err != nil {
			return nil, err
		}
		platform, marks := attest.Entry(d)
		parts = append(parts, image.Platformed{Image: a.Manifest, Platform: platform, Annotations: marks})
	}
	return image.Index(parts, format, annotations)
}
