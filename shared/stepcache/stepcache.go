// Package stepcache remembers what the steps of a build gave: found again by what a step is, or by what it is made from, and kept.
//
// A step has two keys. One is of its definition: the instruction, expanded, and
// the keys of the steps before it, so that it is known before anything is carried
// out; all of them are looked up at once. The other is of content: the
// instruction and what its inputs really are, down to the files that a COPY
// selects, and nothing else. It is looked up when the first was not found and the
// inputs are there, so a step whose input was made anew and is the same as before
// is not carried out again.
package stepcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/tree"
)

// Cache remembers steps. Its fields are set once, before the first call; its
// methods may be called by many goroutines at once. It is for one build.
type Cache struct {
	// Lookup is where results are looked for; nil for nowhere.
	Lookup cache.Layers
	// Store is where results are kept; nil for nowhere.
	Store cache.Layers
	// NoRun and NoCopy leave out RUN and WORKDIR, or COPY and ADD.
	NoRun, NoCopy bool
	// TTL is how old a result may be, where more than 0.
	TTL time.Duration
	// Seed is what the result of every step depends on besides the step: how
	// layers are written.
	Seed []Part
	// Allow is what the user granted: a step that asks for more is not answered.
	Allow     run.Entitlements
	Workspace *tree.Workspace
	// Background is for keeping results, which may outlast the solving.
	Background context.Context //nolint:containedctx // the build's own
	// Solve gives the tree of an edge. It is asked for sources only.
	Solve func(context.Context, graph.Edge) (tree.Tree, error)
	// Builder is the version of the program, which entries tell.
	Builder string
	Now     func() time.Time
	// Warn is told, in a line, what is wrong with the cache. It may be called by
	// many goroutines.
	Warn func(string)
	// Distrusted are layers that turned out to be lost: no entry with one is used.
	Distrusted map[v1.Hash]bool

	mu      sync.Mutex
	steps   map[string]*step
	order   []*step
	warned  map[string]bool
	probes  errgroup.Group
	keeping errgroup.Group
	once    sync.Once
}

// probing and keepers are how many questions are on the way at once, and how many
// results are being kept.
const (
	probing = 64
	keepers = 4
)

// step is what is known about a vertex.
type step struct {
	c *Cache
	v *graph.Vertex

	defining   sync.Once
	definition []Part
	key        cache.Key // by definition; "" where that says nothing
	defErr     error

	asking sync.Once
	found  *cache.Entry
	missed error // why not

	mu      sync.Mutex
	content []Part
	outcome Outcome
}

func (c *Cache) step(v *graph.Vertex) *step {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.steps == nil {
		c.steps = make(map[string]*step)
	}
	s, ok := c.steps[v.ID]
	if !ok {
		s = &step{c: c, v: v, outcome: Outcome{Step: v.Name}}
		c.steps[v.ID] = s
		c.order = append(c.order, s)
	}
	return s
}

// remembers tells whether results of v are kept at all.
func (c *Cache) remembers(v *graph.Vertex) bool {
	if v.Outputs() != 1 {
		return false
	}
	switch o := v.Op.(type) {
	case *graph.Exec:
		return !c.NoRun && run.Check(o, c.Allow) == nil
	case *graph.File:
		if len(v.Inputs) == 0 {
			return false // a heredoc, which is here as soon as it is read
		}
		if copies(o) {
			return !c.NoCopy
		}
		return !c.NoRun
	}
	return false
}

// copies tells whether the operation is a COPY or an ADD.
func copies(o *graph.File) bool {
	for _, a := range o.Actions {
		switch a.Do.(type) {
		case *graph.Copy, *graph.Mkfile:
			return true
		}
	}
	return false
}

// Prepare begins to look for all steps of a graph whose keys are known from the
// start, before anybody asks for one.
func (c *Cache) Prepare(ctx context.Context, g *graph.Graph) {
	c.once.Do(func() {
		c.probes.SetLimit(probing)
		c.keeping.SetLimit(keepers)
	})
	for _, v := range g.Vertices {
		if c.remembers(v) && !v.IgnoreCache && c.Lookup != nil {
			s := c.step(v)
			c.probes.Go(func() error {
				s.ask(ctx)
				return nil
			})
		}
	}
}

// Find looks a step up by its definition. What goes wrong is a miss.
func (c *Cache) Find(ctx context.Context, v *graph.Vertex) ([]tree.Tree, bool) {
	if c.Lookup == nil || !c.remembers(v) {
		return nil, false
	}
	s := c.step(v)
	if v.IgnoreCache {
		s.note(func(o *Outcome) { o.Reason = "a fresh result was asked for" })
		return nil, false
	}
	s.ask(ctx)
	if s.found == nil {
		return nil, false
	}
	return s.use(ctx, s.found, "definition")
}

// Match looks a step up by what its inputs are.
func (c *Cache) Match(ctx context.Context, v *graph.Vertex, inputs []tree.Tree) ([]tree.Tree, bool) {
	if c.Lookup == nil || !c.remembers(v) || v.IgnoreCache {
		return nil, false
	}
	s := c.step(v)
	key, err := s.contentKey(ctx, inputs)
	if err != nil || key == s.key {
		return nil, false
	}
	e, err := c.get(ctx, key)
	if err != nil {
		s.miss(err)
		return nil, false
	}
	out, ok := s.use(ctx, e, "content")
	if ok && s.key != "" && c.Store != nil {
		again := *e
		again.Key = s.key
		c.put(&again)
	}
	return out, ok
}

// ask looks the definition up, once.
func (s *step) ask(ctx context.Context) {
	s.asking.Do(func() {
		s.define(ctx)
		if s.key == "" {
			s.missed = s.defErr
			return
		}
		s.found, s.missed = s.c.get(ctx, s.key)
	})
	if s.found == nil {
		s.miss(s.missed)
	}
}

var (
	errExpired = errors.New("it is older than allowed")
	errLost    = errors.New("a layer of it is lost")
)

// get asks for an entry, and tells what is wrong with the place.
func (c *Cache) get(ctx context.Context, k cache.Key) (*cache.Entry, error) {
	e, err := c.Lookup.Get(ctx, k)
	if err != nil {
		if !errors.Is(err, cache.ErrMiss) && ctx.Err() == nil {
			c.warn(fmt.Sprintf("cache %s: %v", c.Lookup, err))
		}
		return nil, err
	}
	if slices.ContainsFunc(e.Layers, func(l cache.Layer) bool { return c.Distrusted[l.Digest] }) {
		return nil, errLost
	}
	if c.TTL > 0 && store.Age(e.Created, c.Now()) > c.TTL {
		return nil, errExpired
	}
	return e, nil
}

// use makes a tree of an entry, which must be of a step on the same base image.
func (s *step) use(ctx context.Context, e *cache.Entry, by string) ([]tree.Tree, bool) {
	base, err := s.c.base(ctx, s.v)
	if err == nil && e.Platform != platformOf(s.v) {
		err = fmt.Errorf("%w: it is for %s", cache.ErrDamaged, e.Platform)
	}
	if err == nil {
		err = sameBase(ctx, base, e)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.c.warn(fmt.Sprintf("cache %s: result of %s: %v", s.c.Lookup, s.v.Name, err))
		}
		s.miss(err)
		return nil, false
	}
	made := make([]tree.Made, len(e.Layers))
	for i, l := range e.Layers {
		made[i] = tree.Made{Blob: l.Blob, Content: l.Content}
	}
	s.note(func(o *Outcome) {
		o.Hit, o.By, o.Seconds, o.Bytes, o.Reason = true, by, e.Took.Seconds(), e.Size(), ""
	})
	return []tree.Tree{s.c.Workspace.Remembered(base, made)}, true
}

// sameBase compares the base image with the one that an entry was made on.
func sameBase(ctx context.Context, base tree.Tree, e *cache.Entry) error {
	ids, err := diffIDs(ctx, base)
	if err != nil {
		return err
	}
	if len(ids) != len(e.Base) {
		return fmt.Errorf("%w: it was made on a base of %d layers, not %d", cache.ErrDamaged, len(e.Base), len(ids))
	}
	for i, id := range ids {
		if id != e.Base[i] {
			return fmt.Errorf("%w: it was made on another base", cache.ErrDamaged)
		}
	}
	return nil
}

// base is the image at the bottom of what v gives.
func (c *Cache) base(ctx context.Context, v *graph.Vertex) (tree.Tree, error) {
	e := graph.Edge{Vertex: v}
	for e.Vertex != nil {
		if _, ok := e.Vertex.Op.(*graph.Source); ok {
			if !isImage(e.Vertex) {
				return tree.Tree{}, nil
			}
			t, err := c.Solve(ctx, e)
			if err != nil {
				return tree.Tree{}, err
			}
			base, _ := t.Split()
			return base, nil
		}
		i := below(e.Vertex)
		if i < 0 || i >= len(e.Vertex.Inputs) {
			break
		}
		e = e.Vertex.Inputs[i]
	}
	return tree.Tree{}, nil
}

// below is the input that v's result begins with, or -1.
func below(v *graph.Vertex) int {
	switch o := v.Op.(type) {
	case *graph.Exec:
		for _, m := range o.Mounts {
			if m.Target == "/" {
				return m.Input
			}
		}
	case *graph.File:
		return belowFile(o, len(v.Inputs))
	case *graph.Merge:
		for _, i := range o.Inputs {
			if i >= 0 {
				return i
			}
		}
	}
	return -1
}

// belowFile follows the chain of actions that ends in output 0.
func belowFile(o *graph.File, inputs int) int {
	for i, a := range o.Actions {
		if a.Output != 0 {
			continue
		}
		in := o.Actions[i].Input
		for in >= inputs && in-inputs < len(o.Actions) {
			in = o.Actions[in-inputs].Input
		}
		return in
	}
	return -1
}

func (c *Cache) warn(line string) {
	c.mu.Lock()
	again := c.warned[line]
	if c.warned == nil {
		c.warned = make(map[string]bool)
	}
	c.warned[line] = true
	c.mu.Unlock()
	if !again && c.Warn != nil {
		c.Warn(line)
	}
}
