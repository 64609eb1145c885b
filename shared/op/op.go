// Package op carries out one vertex of a build graph, whatever its kind.
package op

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/file"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/tree"
)

// Worker carries out vertices. Its fields are set once, before the first Do.
type Worker struct {
	Workspace *tree.Workspace
	// Runner runs processes; nil where nothing can, and NoRun says why.
	Runner *run.Runner
	NoRun  error
	// Sources fetches what comes from elsewhere.
	Sources *Sources
	// Now is the time of what is made without one of its own.
	Now func() time.Time
}

// Log takes what a step prints.
type Log interface {
	Stdout() io.Writer
	Stderr() io.Writer
	// Warn takes a line of ours about the step.
	Warn(msg string)
}

// Do carries out v on its inputs and returns one tree per output.
func (w *Worker) Do(ctx context.Context, v *graph.Vertex, inputs []tree.Tree, log Log) ([]tree.Tree, error) {
	switch o := v.Op.(type) {
	case *graph.Source:
		t, err := w.Sources.Fetch(ctx, v, o)
		return []tree.Tree{t}, err
	case *graph.Exec:
		return w.exec(ctx, v, o, inputs, log)
	case *graph.File:
		return w.file(ctx, o, inputs, log)
	case *graph.Merge:
		return []tree.Tree{merge(o, inputs)}, nil
	case *graph.Diff:
		t, err := w.diff(ctx, o, inputs)
		return []tree.Tree{t}, err
	}
	return nil, fmt.Errorf("operation %T is not known", v.Op)
}

func (w *Worker) exec(ctx context.Context, v *graph.Vertex, o *graph.Exec, inputs []tree.Tree, log Log) ([]tree.Tree, error) {
	if w.Runner == nil {
		return nil, w.NoRun
	}
	if p := v.Platform; p != nil && p.OS != "" && p.OS != runtime.GOOS {
		return nil, &run.Unsupported{What: "RUN for " + p.OS, Way: "steps run on " + runtime.GOOS + " only; build that platform elsewhere"}
	}
	return w.Runner.Run(ctx, o, inputs, log.Stdout(), log.Stderr())
}

// file changes a tree by its tables only; where nothing came of it, the tree is
// the one before with an empty layer, as histories have a row for it.
func (w *Worker) file(ctx context.Context, o *graph.File, inputs []tree.Tree, log Log) ([]tree.Tree, error) {
	views := make([]*tree.View, len(inputs))
	for i, t := range inputs {
		var err error
		if views[i], err = t.View(ctx); err != nil {
			return nil, err
		}
	}
	results, err := file.Do(ctx, o, views, file.Options{Now: w.Now, Spool: w.Workspace.Spool, Warn: log.Warn})
	if err != nil {
		return nil, err
	}
	out := make([]tree.Tree, len(results))
	same := make(map[*layer.Table]*tree.Layer)
	for i, r := range results {
		if r.Base >= 0 {
			out[i] = inputs[r.Base]
		}
		for _, t := range r.Tables {
			if same[t] == nil {
				same[t] = w.Workspace.FromTable(t)
			}
			out[i] = out[i].With(same[t])
		}
	}
	return out, nil
}

// merge lays trees over each other, the last on top. A stack of layers is that.
func merge(o *graph.Merge, inputs []tree.Tree) tree.Tree {
	var t tree.Tree
	for _, i := range o.Inputs {
		if i < 0 || i >= len(inputs) {
			continue
		}
		if len(t.Layers()) == 0 {
			t = inputs[i]
			continue
		}
		t = t.With(slices.Clone(inputs[i].Layers())...)
	}
	return t
}

// diff takes the layers that upper has over lower. Trees that do not share their
// layers are no changeset of each other.
func (w *Worker) diff(_ context.Context, o *graph.Diff, inputs []tree.Tree) (tree.Tree, error) {
	at := func(i int) tree.Tree {
		if i < 0 || i >= len(inputs) {
			return tree.Tree{}
		}
		return inputs[i]
	}
	lower, upper := at(o.Lower), at(o.Upper)
	if !upper.StartsWith(lower) {
		return tree.Tree{}, errors.New("the difference of two trees of which neither is built on the other cannot be taken")
	}
	return tree.Of(upper.Layers()[len(lower.Layers()):]...), nil
}
