package build

import (
	"context"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
)

// ahead has the base images looked for that steps run on, where nothing may make the
// steps superfluous: while it is tried how steps can run, their layers are found.
func (e *engine) ahead(ctx context.Context, list []frontend.PlatformResult) error {
	if e.b.Kept == nil || e.req.Cache.used() {
		return nil
	}
	for _, p := range list {
		for _, v := range bases(p.Graph) {
			if err := e.worker.Sources.Ahead(ctx, v, v.Op.(*graph.Source)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bases are the sources that steps have as their root.
func bases(g *graph.Graph) (list []*graph.Vertex) {
	seen := make(map[*graph.Vertex]bool)
	var down func(v *graph.Vertex)
	down = func(v *graph.Vertex) {
		if v == nil || seen[v] {
			return
		}
		seen[v] = true
		if _, ok := v.Op.(*graph.Source); ok {
			list = append(list, v)
		}
		for _, i := range below(v) {
			if i >= 0 && i < len(v.Inputs) {
				down(v.Inputs[i].Vertex)
			}
		}
	}
	for _, v := range g.Vertices {
		if _, ok := v.Op.(*graph.Exec); ok {
			down(v)
		}
	}
	return list
}
