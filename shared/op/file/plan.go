package file

import (
	"fmt"

	"github.com/strake-build/strake/shared/graph"
)

// plan checks all indexes, counts the uses of each action, and says which
// action makes which output. What leads to no output is not done.
func (r *run) plan() (outputs []int, err error) {
	r.uses = make([]int, len(r.actions))
	r.changes = make([]*change, len(r.actions))
	made := make(map[int]int)
	for i, a := range r.actions {
		if err := r.check(i); err != nil {
			return nil, err
		}
		if a.Output < 0 {
			continue
		}
		if _, ok := made[a.Output]; ok {
			return nil, fmt.Errorf("output %d is made twice", a.Output)
		}
		made[a.Output] = i
		r.uses[i]++
	}
	for n := range len(made) {
		i, ok := made[n]
		if !ok {
			return nil, fmt.Errorf("output %d is missing", n)
		}
		outputs = append(outputs, i)
	}
	if len(outputs) == 0 {
		return nil, fmt.Errorf("no output")
	}
	for i := len(r.actions) - 1; i >= 0; i-- {
		if r.uses[i] == 0 {
			continue
		}
		for _, in := range r.reads(i) {
			if n := in - len(r.inputs); n >= 0 {
				r.uses[n]++
			}
		}
	}
	return outputs, nil
}

// check refuses indexes that lead nowhere, or to the action itself and later ones.
func (r *run) check(i int) error {
	for _, in := range r.reads(i) {
		if in < -1 || in >= len(r.inputs)+i {
			return fmt.Errorf("action %d: input %d: there are %d inputs and %d earlier actions", i, in, len(r.inputs), i)
		}
	}
	return nil
}

// reads lists what action i uses.
func (r *run) reads(i int) []int {
	a := r.actions[i]
	ins := []int{a.Input, a.Secondary}
	o := ownerOf(a.Do)
	if o == nil {
		return ins
	}
	for _, u := range []*graph.User{o.User, o.Group} {
		// Names are looked up before the action changes anything: with its
		// own input it need not be kept apart.
		if u != nil && u.Name != "" && u.Input != a.Input {
			ins = append(ins, u.Input)
		}
	}
	return ins
}
