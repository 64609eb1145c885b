package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/stepcache"
	"github.com/strake-build/strake/shared/tree"
	"github.com/strake-build/strake/shared/version"
)

// Cache says where a build finds results of earlier ones, and where it keeps its
// own. The zero Cache does neither.
type Cache struct {
	// Lookup and Store may be nil.
	Lookup, Store cache.Layers
	// NoRun and NoCopy leave out RUN and WORKDIR, or COPY and ADD.
	NoRun, NoCopy bool
	// TTL is how old a result may be, where more than 0.
	TTL time.Duration
	// Notes, where set, keeps what the keys of this build were made of, so that the
	// next one can say what changed.
	Notes cache.Notes
	// Explain, where set, is told after the build what became of each step.
	Explain func([]stepcache.Outcome)
	// Distrusted are layers that cannot be had, as a LostError names them.
	Distrusted map[v1.Hash]bool
}

func (c Cache) used() bool { return c.Lookup != nil || c.Store != nil }

// remember gives the solver a cache, once it is known how layers are written.
func (e *engine) remember(ctx context.Context, epoch *time.Time, list []frontend.PlatformResult) {
	c := e.req.Cache
	if !c.used() {
		return
	}
	e.steps = &stepcache.Cache{
		Lookup: c.Lookup, Store: c.Store, NoRun: c.NoRun, NoCopy: c.NoCopy, TTL: c.TTL,
		Seed: e.seed(epoch), Allow: e.req.Allow, Workspace: e.workspace, Background: ctx, Solve: e.solver.Tree,
		Builder: version.Get().Version, Now: e.b.Now, Distrusted: c.Distrusted,
		Warn: func(line string) { logger(ctx).Warn().Msg(line) },
	}
	e.solver.Cache = e.steps
	for _, p := range list {
		e.steps.Prepare(ctx, p.Graph)
	}
}

// seed is what all layers depend on.
func (e *engine) seed(epoch *time.Time) []stepcache.Part {
	times := "as they are"
	if epoch != nil {
		times = "until " + epoch.UTC().Format(time.RFC3339)
	}
	return []stepcache.Part{
		{Name: "compression of layers", Value: fmt.Sprint(e.req.Pack.Compression, e.req.Pack.Level)},
		{Name: "times in layers", Value: times},
		{Name: "ignored paths", Value: strings.Join(e.req.IgnorePaths, "\x00")},
	}
}

// lazyWorker makes ready to run steps only when something is carried out: a build
// whose steps were all done before needs no sandbox.
type lazyWorker struct {
	e *engine
	g *graph.Graph
}

// Do implements solve.Worker.
func (w *lazyWorker) Do(ctx context.Context, v *graph.Vertex, inputs []tree.Tree, log op.Log) ([]tree.Tree, error) {
	if _, ok := v.Op.(*graph.Source); !ok {
		if err := w.e.prepare(ctx, w.g); err != nil {
			return nil, err
		}
	}
	return w.e.worker.Do(ctx, v, inputs, log)
}

// prepareAll makes ready to run the steps of all platforms: at once, or, with a
// cache, when the first is not found there.
func (e *engine) prepareAll(ctx context.Context, list []frontend.PlatformResult) error {
	for _, p := range list {
		if e.req.Cache.used() && hasRun(p.Graph) {
			e.solver.Worker = &lazyWorker{e, p.Graph}
			return nil
		}
		if err := e.prepare(ctx, p.Graph); err != nil {
			return err
		}
	}
	return nil
}

// settleCache waits for results to be kept, and says what became of the steps.
func (e *engine) settleCache(ctx context.Context, res *frontend.Result) {
	e.mounts.keep(ctx)
	if e.steps == nil {
		return
	}
	e.steps.Wait()
	c := e.req.Cache
	var now stepcache.History
	var all []stepcache.Outcome
	before := c.history(ctx)
	for _, p := range res.Platforms {
		now.Steps = append(now.Steps, e.steps.History(p.Graph).Steps...)
		all = append(all, e.steps.Outcomes(p.Graph, before)...)
	}
	if c.Explain != nil {
		c.Explain(all)
	}
	if c.Notes == nil || ctx.Err() != nil {
		return
	}
	raw, err := json.Marshal(now)
	if err == nil {
		err = c.Notes.SetNote(ctx, raw)
	}
	if err != nil {
		logger(ctx).Warn().Err(err).Msg("what the steps' keys were made of could not be kept")
	}
}

// history is that of the build before, nil where nothing is known about it.
func (c Cache) history(ctx context.Context) *stepcache.History {
	if c.Notes == nil {
		return nil
	}
	raw, err := c.Notes.Note(ctx)
	if errors.Is(err, cache.ErrMiss) {
		return nil
	}
	var h stepcache.History
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	if err != nil {
		logger(ctx).Warn().Err(err).Msg("what the steps' keys were made of in the build before is not known")
		return nil
	}
	return &h
}
