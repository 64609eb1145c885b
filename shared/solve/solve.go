// Package solve walks a build graph: every vertex that the result needs is carried out once, independent ones side by side.
package solve

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/tree"
)

// Worker carries out one vertex whose inputs are there.
type Worker interface {
	Do(ctx context.Context, v *graph.Vertex, inputs []tree.Tree, log op.Log) ([]tree.Tree, error)
}

// Cache remembers what vertices gave in earlier builds; *stepcache.Cache does. Its
// methods are called from many goroutines.
type Cache interface {
	// Find returns the result of v, if it is known without its inputs.
	Find(ctx context.Context, v *graph.Vertex) ([]tree.Tree, bool)
	// Match returns the result of v on these inputs, if it is known.
	Match(ctx context.Context, v *graph.Vertex, inputs []tree.Tree) ([]tree.Tree, bool)
	// Keep is given what v gave, and how long that took.
	Keep(ctx context.Context, v *graph.Vertex, inputs, outputs []tree.Tree, took time.Duration)
}

// CacheProgress is a Progress that is told of vertices that need not be carried
// out, because they were before, or because what needs them was.
type CacheProgress interface {
	Progress
	Cached(v *graph.Vertex)
}

// Progress is told what happens. Its methods are called from many goroutines.
type Progress interface {
	// Start announces a vertex and returns where its output goes.
	Start(v *graph.Vertex) op.Log
	// End says that a vertex is done, how long it took, and with which error.
	End(v *graph.Vertex, took time.Duration, err error)
}

// Solver solves graphs with one worker and remembers all that it solved: a
// vertex of the same ID is carried out once in the Solver's life.
type Solver struct {
	Worker   Worker
	Progress Progress
	// Cache may be nil. It is set before the first call of Tree that it is for.
	Cache Cache
	// Done, where set, is called with each vertex's inputs and outputs as soon
	// as they are there.
	Done func(v *graph.Vertex, inputs, outputs []tree.Tree)

	mu    sync.Mutex
	calls map[string]*call
	told  map[*graph.Vertex]bool // of which Progress knows that they are cached
}

// call is a vertex being solved, or solved.
type call struct {
	done chan struct{}
	out  []tree.Tree
	err  error
}

// Error is a vertex that could not be carried out.
type Error struct {
	Vertex *graph.Vertex
	Err    error
}

func (e *Error) Error() string {
	if n := len(e.Vertex.Positions); n > 0 {
		return fmt.Sprintf("%s: %s: %v", e.Vertex.Positions[n-1], e.Vertex.Name, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Vertex.Name, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Tree solves one edge. The error is an *Error, or the context's cause.
func (s *Solver) Tree(ctx context.Context, e graph.Edge) (tree.Tree, error) {
	if e.Vertex == nil {
		return tree.Tree{}, nil
	}
	out, err := s.vertex(ctx, e.Vertex)
	if err != nil {
		return tree.Tree{}, err
	}
	if e.Output < 0 || e.Output >= len(out) {
		return tree.Tree{}, &Error{e.Vertex, fmt.Errorf("there is no output %d", e.Output)}
	}
	return out[e.Output], nil
}

// vertex solves v, or waits for whoever does it already.
func (s *Solver) vertex(ctx context.Context, v *graph.Vertex) ([]tree.Tree, error) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = make(map[string]*call)
	}
	c, ok := s.calls[v.ID]
	if !ok {
		c = &call{done: make(chan struct{})}
		s.calls[v.ID] = c
	}
	s.mu.Unlock()
	if !ok {
		c.out, c.err = s.solve(ctx, v)
		close(c.done)
		return c.out, c.err
	}
	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *Solver) solve(ctx context.Context, v *graph.Vertex) ([]tree.Tree, error) {
	if s.Cache != nil {
		if out, ok := s.Cache.Find(ctx, v); ok {
			return s.cached(v, nil, out), nil
		}
	}
	inputs, err := s.inputs(ctx, v)
	if err != nil {
		return nil, err
	}
	if s.Cache != nil {
		if out, ok := s.Cache.Match(ctx, v, inputs); ok {
			return s.cached(v, inputs, out), nil
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return s.carryOut(ctx, v, inputs)
}

func (s *Solver) carryOut(ctx context.Context, v *graph.Vertex, inputs []tree.Tree) ([]tree.Tree, error) {
	log := s.Progress.Start(v)
	start := time.Now()
	out, err := s.Worker.Do(ctx, v, inputs, log)
	took := time.Since(start)
	s.Progress.End(v, took, err)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, &Error{v, err}
	}
	if s.Cache != nil {
		s.Cache.Keep(ctx, v, inputs, out, took)
	}
	if s.Done != nil {
		s.Done(v, inputs, out)
	}
	return out, nil
}

// cached hands on the result of an earlier build.
func (s *Solver) cached(v *graph.Vertex, inputs, out []tree.Tree) []tree.Tree {
	if p, ok := s.Progress.(CacheProgress); ok {
		s.tell(p, v)
	}
	if s.Done != nil {
		s.Done(v, inputs, out)
	}
	return out
}

// tell announces v and all before it that nobody carried out, each once.
func (s *Solver) tell(p CacheProgress, v *graph.Vertex) {
	for _, in := range v.Inputs {
		if in.Vertex != nil {
			s.tellOnce(p, in.Vertex)
		}
	}
	s.mu.Lock()
	again := s.told[v]
	if s.told == nil {
		s.told = make(map[*graph.Vertex]bool)
	}
	s.told[v] = true
	s.mu.Unlock()
	if !again {
		p.Cached(v)
	}
}

// tellOnce leaves out sources, and what was asked for itself.
func (s *Solver) tellOnce(p CacheProgress, v *graph.Vertex) {
	s.mu.Lock()
	_, asked := s.calls[v.ID]
	done := s.told[v] || asked
	s.mu.Unlock()
	if _, source := v.Op.(*graph.Source); !source && !done {
		s.tell(p, v)
	}
}

func (s *Solver) inputs(ctx context.Context, v *graph.Vertex) ([]tree.Tree, error) {
	inputs := make([]tree.Tree, len(v.Inputs))
	g, ctx := errgroup.WithContext(ctx)
	for i, e := range v.Inputs {
		g.Go(func() (err error) {
			inputs[i], err = s.Tree(ctx, e)
			return err
		})
	}
	return inputs, g.Wait()
}
