package stepcache

import (
	"errors"
	"slices"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/framed"
	"github.com/strake-build/strake/shared/graph"
)

// Outcome says what became of a step in the cache.
type Outcome struct {
	Step string `json:"step"`
	Hit  bool   `json:"hit"`
	// By is "definition" or "content", for a hit.
	By string `json:"by,omitempty"`
	// Unneeded says that the result of a later step was found.
	Unneeded bool `json:"unneeded,omitempty"`
	// Reason is why it was not found, where that is not that nothing was kept.
	Reason string `json:"reason,omitempty"`
	// Changed are the parts of the key that are not what they were in the build before.
	Changed []string `json:"changed,omitempty"`
	// New says that the build before had no such step.
	New bool `json:"new,omitempty"`
	// Seconds and Bytes are what a hit saved: how long the step once took, and how
	// large its layer is.
	Seconds float64 `json:"savedSeconds,omitempty"`
	Bytes   int64   `json:"savedBytes,omitempty"`
	// Took is how long the step took, where it was carried out.
	Took float64 `json:"tookSeconds,omitempty"`
}

func (s *step) note(change func(*Outcome)) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	change(&s.outcome)
}

// miss notes why a step was not found. A plain miss needs no reason.
func (s *step) miss(err error) {
	if err == nil || errors.Is(err, cache.ErrMiss) {
		return
	}
	s.note(func(o *Outcome) { o.Reason = err.Error() })
}

// History is what the keys of a build's steps were made of, for the next build to
// be compared with. It has hashes only.
type History struct {
	Steps []PastStep `json:"steps"`
}

// PastStep is one step.
type PastStep struct {
	Step  string     `json:"step"`
	Parts []PastPart `json:"parts"`
}

// PastPart is a Part whose value is a hash.
type PastPart struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
}

// History is that of this build.
func (c *Cache) History(g *graph.Graph) History {
	var h History
	for _, v := range g.Vertices {
		s := c.known(v)
		if s == nil || s.definition == nil {
			continue
		}
		p := PastStep{Step: v.Name}
		for _, part := range s.definition {
			p.Parts = append(p.Parts, PastPart{part.Name, hashed(part)})
		}
		h.Steps = append(h.Steps, p)
	}
	return h
}

// known is a step that the build came across. Wait was called before.
func (c *Cache) known(v *graph.Vertex) *step {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.steps[v.ID]
}

// hashed tells values apart, and is too short to tell what they were.
func hashed(p Part) string { return framed.New("part").String(p.Name).String(p.Value).Sum()[:12] }

// Outcomes says what became of the steps of a graph, compared with the build
// before, which may be nil. It is to be called after Wait.
func (c *Cache) Outcomes(g *graph.Graph, before *History) []Outcome {
	var out []Outcome
	for _, v := range g.Vertices {
		s := c.known(v)
		if s == nil || !c.remembers(v) {
			continue
		}
		o := s.outcome
		if !o.Hit && o.Took == 0 {
			o.Unneeded, o.Hit = true, s.found != nil
			if s.found != nil {
				o.By, o.Seconds, o.Bytes = "definition", s.found.Took.Seconds(), s.found.Size()
			}
		}
		if before != nil && (!o.Hit || o.By == "content") {
			o.New, o.Changed = s.changed(before)
		}
		out = append(out, o)
	}
	return out
}

// changed compares the step with the one of the same name, or else in the same place.
func (s *step) changed(before *History) (isNew bool, names []string) {
	past := find(before.Steps, s.v.Name)
	if past == nil {
		return true, nil
	}
	was := make(map[string][]string)
	for _, p := range past.Parts {
		was[p.Name] = append(was[p.Name], p.Hash)
	}
	is := make(map[string][]string)
	for _, p := range s.definition {
		is[p.Name] = append(is[p.Name], hashed(p))
	}
	for _, p := range s.definition {
		if !slices.Equal(was[p.Name], is[p.Name]) && !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	for _, p := range past.Parts {
		if is[p.Name] == nil && !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return false, names
}

// find prefers the whole name; an instruction that was changed is known by the
// number that the frontend gave it: "[build 2/5]".
func find(steps []PastStep, name string) *PastStep {
	for i := range steps {
		if steps[i].Step == name {
			return &steps[i]
		}
	}
	for i := range steps {
		if n := number(name); n != "" && number(steps[i].Step) == n {
			return &steps[i]
		}
	}
	return nil
}

func number(name string) string {
	for i, r := range name {
		if i == 0 && r != '[' {
			return ""
		}
		if r == ']' {
			return name[:i]
		}
	}
	return ""
}
