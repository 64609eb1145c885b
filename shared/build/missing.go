package build

import (
	"context"
	"errors"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/warmed"
)

// allMissing makes an error about one thing that is not here one about all of
// them, so that nobody has to find out one by one.
func (e *engine) allMissing(ctx context.Context, err error) error {
	first, ok := errors.AsType[*warmed.MissingError](err)
	if !ok {
		return err
	}
	needed, res, nerr := frontend.Everything(ctx, e.req.Frontend, e)
	if nerr != nil {
		return err //nolint:nilerr // what is known is told
	}
	more := []*warmed.MissingError{{Fetched: e.fetched(ctx, res)}}
	for _, n := range needed {
		if m, ok := errors.AsType[*warmed.MissingError](n.Err); ok {
			more = append(more, m)
		}
	}
	return first.Join(more...)
}

// nothingFetched is an error where a build that may fetch nothing would have to.
func (e *engine) nothingFetched(ctx context.Context, res *frontend.Result) error {
	if list := e.fetched(ctx, res); len(list) > 0 {
		return (&warmed.MissingError{}).Join(&warmed.MissingError{Fetched: list})
	}
	return nil
}

// fetched lists what a build that may fetch nothing lacks besides images: what
// steps need that are not in the cache.
func (e *engine) fetched(ctx context.Context, res *frontend.Result) (list []string) {
	if !e.b.Offline {
		return nil
	}
	seen := make(map[string]bool)
	var down func(v *graph.Vertex)
	down = func(v *graph.Vertex) {
		if v == nil || seen[v.ID] {
			return
		}
		seen[v.ID] = true
		if e.steps != nil {
			if _, found := e.steps.Find(ctx, v); found {
				return
			}
		}
		if o, ok := v.Op.(*graph.Source); ok {
			if address := op.AddressOf(o); address != "" {
				list = append(list, address)
			}
		}
		for _, in := range v.Inputs {
			down(in.Vertex)
		}
	}
	for _, p := range res.Platforms {
		down(p.Graph.Root.Vertex)
	}
	return list
}
