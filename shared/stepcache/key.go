package stepcache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/framed"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/file"
	"github.com/strake-build/strake/shared/tree"
)

// version changes when keys come to mean something else.
const version = "strake step 1"

// Part is something that a key depends on: what it is, as a user would say it,
// and what it was. A value never is a secret's, but it may be one that its user
// would not have printed: only its hash leaves the program.
type Part struct{ Name, Value string }

func keyOf(parts []Part) cache.Key {
	h := framed.New(version)
	for _, p := range parts {
		h.String(p.Name).String(p.Value)
	}
	return cache.Key(h.Sum())
}

// errUnknown says that a definition does not tell the result.
var errUnknown = errors.New("it is made from something that is not known before the build")

// inputs says what the inputs of a vertex are, in values for a key.
type inputs interface {
	// tree is the whole input.
	tree(ctx context.Context, i int) (string, error)
	// copied is the part of an input that a copy takes.
	copied(ctx context.Context, i int, a *graph.Copy) (string, error)
	// mounted is the part of an input that a mount shows.
	mounted(ctx context.Context, i int, selector string) (string, error)
}

// define works the definition's key out, once.
func (s *step) define(ctx context.Context) {
	s.defining.Do(func() {
		s.definition, s.defErr = s.parts(ctx, &defined{c: s.c, v: s.v})
		if s.defErr == nil {
			s.key = keyOf(s.definition)
		}
	})
}

// contentKey is the key of a step whose inputs are there.
func (s *step) contentKey(ctx context.Context, in []tree.Tree) (cache.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content == nil {
		parts, err := s.parts(ctx, &present{c: s.c, trees: in})
		if err != nil {
			return "", err
		}
		s.content = parts
	}
	return keyOf(s.content), nil
}

// parts lists all that the result of the step depends on.
func (s *step) parts(ctx context.Context, in inputs) ([]Part, error) {
	parts := append(slices.Clip(s.c.Seed), Part{"platform", platformOf(s.v)})
	more, err := opParts(ctx, s.v, in)
	if err != nil {
		return nil, err
	}
	return append(parts, more...), nil
}

func platformOf(v *graph.Vertex) string {
	p := v.Platform
	if p == nil {
		return "any"
	}
	name := strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
	if p.OSVersion != "" {
		name += " " + p.OSVersion
	}
	return name
}

// defined are inputs of which the definition counts.
type defined struct {
	c *Cache
	v *graph.Vertex
}

func (d *defined) tree(ctx context.Context, i int) (string, error) {
	if i < 0 || d.v.Inputs[i].Vertex == nil {
		return empty, nil
	}
	return d.c.edge(ctx, d.v.Inputs[i])
}

func (d *defined) copied(ctx context.Context, i int, a *graph.Copy) (string, error) {
	if i >= 0 && atHand(d.v.Inputs[i].Vertex) {
		t, err := d.c.Solve(ctx, d.v.Inputs[i])
		if err != nil {
			return "", err
		}
		return d.c.selected(ctx, t, a)
	}
	whole, err := d.tree(ctx, i)
	return "part of " + whole + " " + selection(a), err
}

func (d *defined) mounted(ctx context.Context, i int, selector string) (string, error) {
	if i >= 0 && atHand(d.v.Inputs[i].Vertex) {
		t, err := d.c.Solve(ctx, d.v.Inputs[i])
		if err != nil {
			return "", err
		}
		return d.c.subtree(ctx, t, selector)
	}
	whole, err := d.tree(ctx, i)
	return "part of " + whole + " " + framed.New("mount").String(clean(selector)).Sum(), err
}

// edge is the value of an output that nobody looked into.
func (c *Cache) edge(ctx context.Context, e graph.Edge) (string, error) {
	if o, ok := e.Vertex.Op.(*graph.Source); ok {
		if !isImage(e.Vertex) && !atHand(e.Vertex) {
			return sourceValue(o), nil
		}
		t, err := c.Solve(ctx, e)
		if err != nil {
			return "", err
		}
		return treeValue(ctx, t)
	}
	if e.Vertex.IgnoreCache {
		return "", errUnknown
	}
	s := c.step(e.Vertex)
	s.define(ctx)
	if s.defErr != nil {
		return "", s.defErr
	}
	return fmt.Sprintf("step %s %d", s.key, e.Output), nil
}

const empty = "nothing"

func treeValue(ctx context.Context, t tree.Tree) (string, error) {
	if len(t.Layers()) == 0 {
		return empty, nil
	}
	content, err := t.Content(ctx)
	return "tree " + content, err
}

func isImage(v *graph.Vertex) bool {
	o, ok := v.Op.(*graph.Source)
	return ok && (strings.HasPrefix(o.Identifier, "docker-image://") || strings.HasPrefix(o.Identifier, "oci-layout://"))
}

// atHand tells whether v is a source that counts by its content: it is here, or
// nothing but fetching it tells what it is.
func atHand(v *graph.Vertex) bool {
	if v == nil || isImage(v) {
		return false
	}
	o, ok := v.Op.(*graph.Source)
	return ok && !pinned(o)
}

// pinned tells whether a source says itself what its content is.
func pinned(o *graph.Source) bool {
	if o.Attrs["http.checksum"] != "" {
		return true
	}
	rest, ok := strings.CutPrefix(o.Identifier, "git://")
	if !ok {
		return false
	}
	_, ref, _ := strings.Cut(rest, "#")
	ref, _, _ = strings.Cut(ref, ":")
	return isCommit(ref) || isCommit(o.Attrs["git.checksum"])
}

// isCommit tells whether s is a whole object name of git: SHA-1 or SHA-256.
func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

func sourceValue(o *graph.Source) string {
	h := framed.New("source").String(o.Identifier)
	for _, k := range slices.Sorted(maps.Keys(o.Attrs)) {
		h.String(k).String(o.Attrs[k])
	}
	return "source " + h.Sum()
}

// selection says which part of a source a copy takes, where nobody looks into it.
func selection(a *graph.Copy) string {
	return framed.New("copy").String(a.Src).Strings(a.IncludePatterns...).Strings(a.ExcludePatterns...).Strings(a.RequiredPaths...).
		String(fmt.Sprint(a.FollowSymlink, a.DirCopyContents, a.AllowWildcard, a.AllowEmptyWildcard)).Sum()
}

// present are inputs that are there.
type present struct {
	c     *Cache
	trees []tree.Tree
}

func (p *present) at(i int) tree.Tree {
	if i < 0 || i >= len(p.trees) {
		return tree.Tree{}
	}
	return p.trees[i]
}

func (p *present) tree(ctx context.Context, i int) (string, error) { return treeValue(ctx, p.at(i)) }

func (p *present) copied(ctx context.Context, i int, a *graph.Copy) (string, error) {
	return p.c.selected(ctx, p.at(i), a)
}

func (p *present) mounted(ctx context.Context, i int, selector string) (string, error) {
	return p.c.subtree(ctx, p.at(i), selector)
}

// selected is the value of what a copy takes from a tree.
func (c *Cache) selected(ctx context.Context, t tree.Tree, a *graph.Copy) (string, error) {
	view, err := t.View(ctx)
	if err != nil {
		return "", err
	}
	table, err := file.Select(ctx, a, view)
	if err != nil {
		return "", err
	}
	sum, err := c.Workspace.Fingerprints().Of(ctx, table)
	return "files " + sum, err
}

func clean(selector string) string { return "/" + strings.Join(layer.Split(selector), "/") }

// subtree is the value of what a mount shows of a tree.
func (c *Cache) subtree(ctx context.Context, t tree.Tree, selector string) (string, error) {
	if clean(selector) == "/" {
		return treeValue(ctx, t)
	}
	view, err := t.View(ctx)
	if err != nil {
		return "", err
	}
	f, err := view.Stat(selector)
	if err != nil {
		return "", err
	}
	table := layer.NewTable()
	err = view.Walk(f, func(e *tree.File) error {
		n := table.Root
		if p := e.Path[len(f.Path):]; p != "" {
			n = table.Make(p)
		}
		n.Inode = e.Inode
		return nil
	})
	if err != nil {
		return "", err
	}
	sum, err := c.Workspace.Fingerprints().Of(ctx, table.Seal())
	return "files " + sum, err
}
