// Package file carries out file operations (COPY, ADD, WORKDIR and their kin) on tables of contents: no mounts, no disk, no privilege.
//
// The meaning is BuildKit's: of its file backend for the actions, of fsutil's
// copy package for what a copy does in detail, and of moby's archive package
// for what ADD does with an archive.
package file

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// Options are what an operation needs from outside. The zero value will do.
type Options struct {
	// Now is the modification time of what is made without a timestamp; nil is time.Now.
	Now func() time.Time
	// Spool gives an empty file for the contents of one unpacked archive. It
	// must stay open for as long as the result is used. Nil takes a file
	// without a name in the system's temporary directory.
	Spool func() (*os.File, error)
	// Warn is told what a user should know though it is no error; nil for nobody.
	Warn func(msg string)
	// Limits bound what one unpacked archive may cost; the defaults are those of layers.
	Limits layer.Limits
}

// Result is one output of an operation: changesets and what they lie on.
type Result struct {
	// Base is the index of the input below the changesets; -1 is an empty file system.
	Base int
	// Tables are the changesets, the first at the bottom. Usually it is one:
	// actions that only serve each other share a changeset. Where one action's
	// result is used twice, both users' Tables begin with the same pointers;
	// such a table is one changeset. A table may be Empty.
	Tables []*layer.Table
}

// Do carries out the actions of op. The inputs are those of its vertex; a nil
// View is an empty file system. It returns one result for every output.
func Do(ctx context.Context, op *graph.File, inputs []*tree.View, o Options) ([]Result, error) {
	r := &run{actions: op.Actions, inputs: slices.Clone(inputs), options: o}
	for i, v := range r.inputs {
		if v == nil {
			r.inputs[i] = tree.NewView()
		}
	}
	if o.Now == nil {
		r.options.Now = time.Now
	}
	if o.Warn == nil {
		r.options.Warn = func(string) {}
	}
	outputs, err := r.plan()
	if err != nil {
		return nil, fmt.Errorf("file operation: %w", err)
	}
	for i := range r.actions {
		if r.uses[i] == 0 {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if err := r.act(ctx, i); err != nil {
			return nil, err
		}
	}
	results := make([]Result, len(outputs))
	for n, i := range outputs {
		c := r.changes[i]
		c.freeze()
		results[n] = Result{Base: c.base, Tables: c.tables}
	}
	return results, nil
}

// run is one operation in progress.
type run struct {
	actions []graph.FileAction
	inputs  []*tree.View
	options Options
	uses    []int     // how often each action's result is used; being an output counts
	changes []*change // of the actions done
}

// change is a changeset in the making, shared by the actions of a chain.
type change struct {
	base   int
	tables []*layer.Table
	editor *tree.Editor
	frozen bool
}

// freeze ends the changeset. Its editor's View stays good for reading.
func (c *change) freeze() {
	if !c.frozen {
		c.tables = append(slices.Clip(c.tables), c.editor.Table())
		c.frozen = true
	}
}

// view is what the input or the earlier action with this index is.
func (r *run) view(index int) *tree.View {
	switch {
	case index < 0:
		return tree.NewView()
	case index < len(r.inputs):
		return r.inputs[index]
	}
	c := r.changes[index-len(r.inputs)]
	c.freeze()
	return c.editor.View
}

// begin gives the changeset that action i works on.
func (r *run) begin(i int) *change {
	in := r.actions[i].Input
	n := in - len(r.inputs)
	if n < 0 {
		return &change{base: in, editor: tree.NewEditor(r.view(in))}
	}
	below := r.changes[n]
	if r.uses[n] == 1 && !below.frozen {
		return below
	}
	v := r.view(in)
	return &change{base: below.base, tables: below.tables, editor: tree.NewEditor(v)}
}

// act carries out action i.
func (r *run) act(ctx context.Context, i int) error {
	a := r.actions[i]
	src := r.view(a.Secondary)
	c := r.begin(i)
	r.changes[i] = c
	s := &step{editor: c.editor, src: src, options: &r.options, now: r.options.Now()}
	var err error
	if s.owner, err = r.owner(ownerOf(a.Do), a.Input, c.editor.View); err == nil {
		err = s.do(ctx, a.Do)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", describe(a.Do), err)
	}
	return nil
}

// step is one action at work.
type step struct {
	editor  *tree.Editor
	src     *tree.View
	owner   *owner // nil keeps
	options *Options
	now     time.Time
}

func (s *step) do(ctx context.Context, action any) error {
	switch a := action.(type) {
	case *graph.Mkdir:
		return s.mkdir(a)
	case *graph.Mkfile:
		return s.mkfile(a)
	case *graph.Symlink:
		return s.symlink(a)
	case *graph.Rm:
		return s.rm(a)
	case *graph.Copy:
		return s.copy(ctx, a)
	}
	return fmt.Errorf("unknown action")
}

// describe says what an action does, for errors.
func describe(action any) string {
	switch a := action.(type) {
	case *graph.Mkdir:
		return "make directory " + a.Path
	case *graph.Mkfile:
		return "make file " + a.Path
	case *graph.Symlink:
		return "make symlink " + a.New
	case *graph.Rm:
		return "remove " + a.Path
	case *graph.Copy:
		return "copy " + a.Src + " to " + a.Dest
	}
	return fmt.Sprintf("%T", action)
}
