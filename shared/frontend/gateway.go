package frontend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	capspb "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// sessionID stands where BuildKit names a client's session. It is part of the
// LLB of local sources, so that a constant keeps their vertices' IDs constant.
const sessionID = "strake"

// gateway is what BuildKit's frontend sees of us.
type gateway struct {
	opts   map[string]string
	host   ocispecs.Platform
	engine Engine

	mu      sync.Mutex
	images  map[string]*imageOnce
	closers []io.Closer
	failure error // the first one of the engine's
	ignored error // one that the frontend goes on after, but we do not
}

var _ client.Client = (*gateway)(nil)

func newGateway(req *Request, e Engine) (*gateway, error) {
	opts, err := req.options()
	if err != nil {
		return nil, err
	}
	host := platforms.DefaultSpec()
	if req.BuildPlatform != nil {
		host = *req.BuildPlatform
	}
	return &gateway{
		opts:   opts,
		host:   platforms.Normalize(host),
		engine: e,
		images: make(map[string]*imageOnce),
	}, nil
}

// BuildOpts offers every capability of LLB: what we cannot carry out is to be
// refused by name, where a missing capability would drop the wish in silence.
func (g *gateway) BuildOpts() client.BuildOpts {
	caps := slices.DeleteFunc(gwpb.Caps.All(), func(c *capspb.APICap) bool {
		return c.ID == string(gwpb.CapFrontendInputs)
	})
	return client.BuildOpts{
		Opts:      maps.Clone(g.opts), // the frontend writes to it
		SessionID: sessionID,
		Product:   "strake",
		LLBCaps:   pb.Caps.CapSet(pb.Caps.All()),
		Caps:      gwpb.Caps.CapSet(caps),
		Workers:   []client.WorkerInfo{{Platforms: []ocispecs.Platform{g.host}}},
	}
}

// Solve carries out what the frontend wants to look into. The build itself
// does not come this way. Its graph may hold other vertices for the same
// operations, as those here have neither names nor lines, but their IDs are equal.
func (g *gateway) Solve(ctx context.Context, req client.SolveRequest) (_ *client.Result, err error) {
	defer recovered(&err)
	if req.Frontend != "" {
		return nil, fmt.Errorf("frontend %s: only the built-in one is offered", req.Frontend)
	}
	gr, err := newDecoder(nil).graph(req.Definition)
	if err != nil {
		return nil, fmt.Errorf("read build definition: %w", err)
	}
	fsys, err := g.engine.Open(ctx, gr)
	if err != nil {
		return nil, g.note(err)
	}
	if c, ok := fsys.(io.Closer); ok {
		g.mu.Lock()
		g.closers = append(g.closers, c)
		g.mu.Unlock()
	}
	res := client.NewResult()
	res.SetRef(&reference{gateway: g, files: files{fsys}})
	return res, nil
}

// ResolveImageConfig asks the engine once for equal images, as stages and
// platforms share theirs.
func (g *gateway) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (_ string, _ digest.Digest, _ []byte, err error) {
	defer recovered(&err)
	q := ImageQuery{Ref: ref}
	if o := opt.ImageOpt; o != nil {
		q.Platform, q.Mode = o.Platform, o.ResolveMode
	}
	if o := opt.OCILayoutOpt; o != nil {
		q.Platform, q.Layout = o.Platform, o.Store.StoreID
	}
	img, err := g.image(ctx, q)
	if err != nil {
		return "", "", nil, err
	}
	ref = cmp.Or(img.Ref, ref)
	// The frontend adds the digest to a FROM but not to a named context, whose
	// tag may have moved by the time that it is pulled.
	if img.Digest != "" && !strings.Contains(ref, "@") {
		ref += "@" + img.Digest.String()
	}
	return ref, img.Digest, slices.Clone(img.Config), nil
}

func (g *gateway) image(ctx context.Context, q ImageQuery) (*Image, error) {
	key := q.Ref + "\n" + q.Mode + "\n" + q.Layout + "\n"
	if q.Platform != nil {
		key += platforms.FormatAll(*q.Platform)
	}
	g.mu.Lock()
	once := g.images[key]
	if once == nil {
		once = new(imageOnce)
		g.images[key] = once
	}
	g.mu.Unlock()

	once.Lock()
	defer once.Unlock()
	if once.image == nil {
		img, err := g.engine.ImageConfig(ctx, q)
		if err != nil {
			return nil, g.note(err)
		}
		once.image = img
	}
	return once.image, nil
}

// imageOnce keeps an answer. Errors are not kept: that of a caller who was
// cancelled is not the next caller's.
type imageOnce struct {
	sync.Mutex
	image *Image
}

// ResolveSourceMetadata is asked for the epoch of git and http sources only.
func (g *gateway) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (_ *sourceresolver.MetaResponse, err error) {
	defer recovered(&err)
	src, err := decodeSource(op)
	if err != nil {
		return nil, err
	}
	at, err := g.engine.SourceTime(ctx, src)
	if err != nil {
		return nil, g.note(err)
	}
	res := &sourceresolver.MetaResponse{Op: op}
	if opt.GitOpt == nil {
		res.HTTP = &sourceresolver.ResolveHTTPResponse{LastModified: at}
		return res, nil
	}
	res.Git = &sourceresolver.ResolveGitResponse{}
	if at != nil {
		res.Git.CommitObject = commitObject(*at)
	}
	return res, nil
}

// commitObject is a commit with nothing in it but its time, which is all that
// the frontend reads of one.
func commitObject(at time.Time) []byte {
	who := fmt.Sprintf("x <x> %d +0000", at.Unix())
	return fmt.Appendf(nil, "tree x\nauthor %s\ncommitter %s\n\n", who, who)
}

// note remembers an error of the engine for those who get only its text back.
func (g *gateway) note(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failure == nil {
		g.failure = err
	}
	return err
}

func (g *gateway) noteIgnored(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ignored = err
}

func (g *gateway) close() {
	for _, c := range g.closers {
		_ = c.Close() // only read from
	}
}

// Inputs are results of other builds: there are none.
func (g *gateway) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

// NewContainer is for frontends that run programs; this one does not.
func (g *gateway) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, errors.New("new container: not offered to frontends")
}

// Warn is not used: the linter's warnings come with more to say.
func (g *gateway) Warn(context.Context, digest.Digest, string, client.WarnOpts) error { return nil }
