package graph

import (
	"errors"
	"fmt"
)

// Validate reports the first thing that is wrong with the graph: an index that
// names nothing, a vertex that is listed before what it needs, an operation
// that lacks a part. Whoever carries out a valid graph needs no such checks.
func (g *Graph) Validate() error {
	seen := make(map[*Vertex]bool, len(g.Vertices))
	ids := make(map[string]bool, len(g.Vertices))
	for i, v := range g.Vertices {
		if v == nil || v.ID == "" {
			return fmt.Errorf("vertex %d: no vertex or no ID", i)
		}
		if seen[v] || ids[v.ID] {
			return fmt.Errorf("vertex %s: listed twice", v.ID)
		}
		if err := v.validate(seen); err != nil {
			return fmt.Errorf("vertex %s %q: %w", v.ID, v.Name, err)
		}
		seen[v], ids[v.ID] = true, true
	}
	if err := g.Root.validate(seen); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return nil
}

// validate checks v, whose inputs must be among the vertices seen before it:
// with that, a graph cannot go round in circles.
func (v *Vertex) validate(seen map[*Vertex]bool) error {
	for i, in := range v.Inputs {
		if err := in.validate(seen); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
	}
	n := len(v.Inputs)
	switch op := v.Op.(type) {
	case *Source:
		return op.validate(n)
	case *Exec:
		return op.validate(n)
	case *File:
		return op.validate(n)
	case *Merge:
		return op.validate(n)
	case *Diff:
		return errors.Join(checkIndex("lower input", op.Lower, -1, n), checkIndex("upper input", op.Upper, -1, n))
	default:
		return fmt.Errorf("operation %T: not known", op)
	}
}

func (e Edge) validate(seen map[*Vertex]bool) error {
	switch {
	case e.Vertex == nil && e.Output == 0:
		return nil
	case !seen[e.Vertex]:
		return errors.New("names a vertex that does not come before it")
	}
	return checkIndex("output", e.Output, 0, e.Vertex.Outputs())
}

// Outputs says how many outputs the vertex has.
func (v *Vertex) Outputs() int {
	last := -1
	switch op := v.Op.(type) {
	case *Exec:
		for _, m := range op.Mounts {
			last = max(last, m.Output)
		}
	case *File:
		for _, a := range op.Actions {
			last = max(last, a.Output)
		}
	default:
		last = 0
	}
	return last + 1
}

func (s *Source) validate(inputs int) error {
	if s.Identifier == "" {
		return errors.New("source without identifier")
	}
	if inputs != 0 {
		return fmt.Errorf("source with %d inputs", inputs)
	}
	return nil
}

func (m *Merge) validate(inputs int) error {
	for _, i := range m.Inputs {
		if err := checkIndex("merge input", i, 0, inputs); err != nil {
			return err
		}
	}
	return nil
}

func (e *Exec) validate(inputs int) error {
	if len(e.Args) == 0 {
		return errors.New("exec without arguments")
	}
	roots, outputs := 0, make([]int, 0, len(e.Mounts))
	for i, m := range e.Mounts {
		if err := m.validate(inputs); err != nil {
			return fmt.Errorf("mount %d %s: %w", i, m.Target, err)
		}
		if m.Target == "/" {
			roots++
		}
		outputs = append(outputs, m.Output)
	}
	if roots != 1 {
		return fmt.Errorf("exec with %d root file systems", roots)
	}
	return checkOutputs(outputs)
}

func (m *Mount) validate(inputs int) error {
	switch {
	case m.Target == "":
		return errors.New("no target")
	case m.Target == "/" && m.Type != MountBind:
		return errors.New("the root is no bind mount")
	case m.Type == MountCache && m.Cache == nil:
		return errors.New("cache mount without cache")
	case (m.Type == MountSecret || m.Type == MountSSH) && m.Secret == nil:
		return errors.New("secret mount without secret")
	}
	return checkIndex("input", m.Input, -1, inputs)
}

func (f *File) validate(inputs int) error {
	if len(f.Actions) == 0 {
		return errors.New("file operation without actions")
	}
	outputs := make([]int, 0, len(f.Actions))
	for i, a := range f.Actions {
		if err := a.validate(inputs + i); err != nil {
			return fmt.Errorf("action %d: %w", i, err)
		}
		outputs = append(outputs, a.Output)
	}
	return checkOutputs(outputs)
}

func (a *FileAction) validate(inputs int) error {
	var owner *Owner
	switch do := a.Do.(type) {
	case *Copy:
		owner = do.Owner
	case *Mkdir:
		owner = do.Owner
	case *Mkfile:
		owner = do.Owner
	case *Symlink:
		owner = do.Owner
	case *Rm:
	default:
		return fmt.Errorf("action %T: not known", do)
	}
	return errors.Join(
		checkIndex("input", a.Input, -1, inputs),
		checkIndex("secondary input", a.Secondary, -1, inputs),
		owner.validate(inputs),
	)
}

func (o *Owner) validate(inputs int) error {
	if o == nil {
		return nil
	}
	for _, u := range []*User{o.User, o.Group} {
		if u == nil || u.Name == "" {
			continue
		}
		if err := checkIndex("input of user "+u.Name, u.Input, -1, inputs); err != nil {
			return err
		}
	}
	return nil
}

// checkOutputs wants the outputs that are not -1 to be 0, 1, 2… in any order.
func checkOutputs(outputs []int) error {
	used := make([]bool, len(outputs))
	n := 0
	for _, o := range outputs {
		if o == -1 {
			continue
		}
		if o < 0 || o >= len(used) || used[o] {
			return fmt.Errorf("output %d: out of range or given twice", o)
		}
		used[o] = true
		n++
	}
	for o := range n {
		if !used[o] {
			return fmt.Errorf("output %d: nothing yields it", o)
		}
	}
	return nil
}

func checkIndex(what string, i, low, high int) error {
	if i < low || i >= high {
		return fmt.Errorf("%s %d: out of range", what, i)
	}
	return nil
}
