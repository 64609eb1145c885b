package build

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"

	"github.com/strake-build/strake/shared/frontend"
)

// Plan is what a build will do: for each platform its steps, in an order in
// which each comes after those that it needs.
type Plan []PlatformPlan

// PlatformPlan are the steps for one platform.
type PlatformPlan struct {
	Platform string   `json:"platform"`
	Steps    []string `json:"steps"`
}

// String is a line for each step, under the platform's name.
func (p Plan) String() string {
	var b strings.Builder
	for _, x := range p {
		fmt.Fprintf(&b, "%s\n", x.Platform)
		for i, s := range x.Steps {
			fmt.Fprintf(&b, "%4d  %s\n", i+1, s)
		}
	}
	return b.String()
}

// Plan says what Run would do. The context is fetched and base images are
// resolved, but nothing is built.
func (b *Builder) Plan(ctx context.Context, req Request) (_ Plan, err error) {
	e, err := b.engine(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.workspace.Close()) }()
	res, err := frontend.Build(ctx, e.req.Frontend, e, b.Warn)
	if err != nil {
		return nil, e.allMissing(ctx, err)
	}
	return plan(res), nil
}

func plan(res *frontend.Result) (out Plan) {
	for _, p := range res.Platforms {
		x := PlatformPlan{Platform: platforms.Format(p.Platform), Steps: []string{}}
		for _, v := range p.Graph.Vertices {
			x.Steps = append(x.Steps, v.Name)
		}
		out = append(out, x)
	}
	return out
}

// also builds the stages of which nothing is kept. What they have in common
// with the image is built once.
func (e *engine) also(ctx context.Context) error {
	for _, target := range e.req.Also {
		req := e.req.Frontend
		req.Target = target
		res, err := frontend.Build(ctx, req, e, nil)
		if err != nil {
			return err
		}
		for _, p := range res.Platforms {
			if err := e.prepare(ctx, p.Graph); err != nil {
				return err
			}
			if _, err := e.solver.Tree(ctx, p.Graph.Root); err != nil {
				return err
			}
		}
	}
	return nil
}
