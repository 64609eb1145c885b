package frontend

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/graph"
)

// session is a Dockerfile that was read, with all that belongs to it.
type session struct {
	gateway  *gateway
	ui       *dockerui.Client
	src      *dockerui.Source
	file     *graph.SourceFile
	warn     func(Warning)
	warnings []Warning
}

// open reads the Dockerfile. The session must be closed.
func open(ctx context.Context, req Request, e Engine, warn func(Warning)) (_ *session, err error) {
	defer recovered(&err)
	gw, err := newGateway(&req, e)
	if err != nil {
		return nil, err
	}
	s := &session{gateway: gw, warn: warn}
	defer func() {
		if s.src == nil {
			s.close()
		}
	}()
	if s.ui, err = dockerui.NewClient(gw); err != nil {
		return nil, fmt.Errorf("frontend options: %w", err)
	}
	src, err := s.ui.ReadEntrypoint(ctx, "Dockerfile")
	if err != nil {
		return nil, err
	}
	if gw.ignored != nil {
		return nil, gw.ignored
	}
	s.src, s.file = src, &graph.SourceFile{Name: src.Filename, Data: src.Data}
	return s, nil
}

func (s *session) close() { s.gateway.close() }

// options are those of a conversion, for no platform yet.
func (s *session) options() dockerfile2llb.ConvertOpt {
	return dockerfile2llb.ConvertOpt{
		Config:       s.ui.Config,
		Client:       s.ui,
		SourceMap:    s.src.SourceMap,
		MetaResolver: s.gateway,
	}
}

// conversion is the Dockerfile as LLB for one platform.
type conversion struct {
	platform *ocispecs.Platform // as asked, or nil
	*dockerfile2llb.Result
	definition *llb.Definition
}

// convert converts for all platforms, side by side as it waits for registries.
func (s *session) convert(ctx context.Context) ([]conversion, error) {
	wanted := []*ocispecs.Platform{nil}
	if len(s.ui.TargetPlatforms) > 0 {
		wanted = nil
	}
	for _, p := range s.ui.TargetPlatforms {
		wanted = append(wanted, &p)
	}
	eg, ctx := errgroup.WithContext(ctx)
	if s.ui.LinterConfig != nil {
		eg.SetLimit(1) // the conversions would write to it at once
	}
	out := make([]conversion, len(wanted))
	for i, p := range wanted {
		eg.Go(func() (err error) {
			opt := s.options()
			if i == 0 { // warnings are the same for each
				opt.Warn = s.lint
			}
			out[i], err = convertFor(ctx, s.src.Data, p, opt)
			return err
		})
	}
	return out, eg.Wait()
}

func convertFor(ctx context.Context, data []byte, p *ocispecs.Platform, opt dockerfile2llb.ConvertOpt) (_ conversion, err error) {
	defer recovered(&err)
	opt.BuildArgs = maps.Clone(opt.BuildArgs) // SOURCE_DATE_EPOCH is written back to it
	opt.TargetPlatform = p
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, data, opt)
	if err != nil {
		return conversion{}, err
	}
	def, err := res.State.Marshal(ctx)
	if err != nil {
		return conversion{}, fmt.Errorf("write build definition: %w", err)
	}
	return conversion{platform: p, Result: res, definition: def}, nil
}

// result decodes the conversion. Done one after the other, as the first
// platform's names are kept for what the platforms share.
func (c *conversion) result(dec *decoder) (_ *PlatformResult, err error) {
	defer recovered(&err)
	res := &PlatformResult{Platform: c.target(), Epoch: c.Epoch}
	if res.Graph, err = dec.graph(c.definition.ToPB()); err != nil {
		return nil, fmt.Errorf("read build definition: %w", err)
	}
	c.hideSecrets(dec.secrets)
	if res.Config, err = json.Marshal(c.Image); err != nil {
		return nil, fmt.Errorf("write image config: %w", err)
	}
	if c.BaseImage == nil {
		return res, nil
	}
	if res.BaseConfig, err = json.Marshal(c.BaseImage); err != nil {
		return nil, fmt.Errorf("write base image config: %w", err)
	}
	return res, nil
}

// hideSecrets takes secrets out of the history of this build: arguments stand in
// it with their values.
func (c *conversion) hideSecrets(r attest.Redactor) {
	first := 0
	if c.BaseImage != nil {
		first = len(c.BaseImage.History)
	}
	for i := first; i < len(c.Image.History); i++ {
		c.Image.History[i].CreatedBy = r.Instruction(c.Image.History[i].CreatedBy)
	}
}

// target is the platform of the image: as asked, or as it turned out. What a
// Windows image runs on is finer than what anybody asks for.
func (c *conversion) target() ocispecs.Platform {
	if c.platform == nil {
		return c.Image.Platform
	}
	p := platforms.Normalize(*c.platform)
	if p.OS == "windows" && c.Image.OS == p.OS {
		p.OSVersion = cmp.Or(p.OSVersion, c.Image.OSVersion)
		if p.OSFeatures == nil {
			p.OSFeatures = slices.Clone(c.Image.OSFeatures)
		}
	}
	return p
}

// lint takes a warning of BuildKit's linter.
func (s *session) lint(rule, description, url, message string, at []parser.Range) {
	w := Warning{Rule: rule, Short: message, URL: url, Detail: description, Position: graph.Position{File: s.file}}
	if p := s.positions(at); len(p) > 0 {
		w.Position = p[0]
		w.Position.End = p[len(p)-1].End
	}
	s.add(w)
}

func (s *session) add(w Warning) {
	s.warnings = append(s.warnings, w)
	if s.warn != nil {
		s.warn(w)
	}
}
