package graph_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/graph"
)

func source(id string) *graph.Vertex {
	return &graph.Vertex{ID: id, Name: id, Op: &graph.Source{Identifier: "local://" + id}}
}

func step(id string, inputs ...*graph.Vertex) *graph.Vertex {
	e := &graph.Exec{Args: []string{"true"}, Mounts: []graph.Mount{{Target: "/"}}}
	v := &graph.Vertex{ID: id, Name: id, Op: e}
	for _, in := range inputs {
		v.Inputs = append(v.Inputs, graph.Edge{Vertex: in})
	}
	return v
}

func TestNewListsInputsFirst(t *testing.T) {
	a, b := source("a"), source("b")
	left, right := step("left", a), step("right", b, a)
	top := step("top", left, right)
	g := graph.New(graph.Edge{Vertex: top})
	if want := []*graph.Vertex{a, left, b, right, top}; !slices.Equal(g.Vertices, want) {
		t.Errorf("order:\n%s", g.Text())
	}
	if err := g.Validate(); err != nil {
		t.Error(err)
	}
	if err := graph.New(graph.Edge{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	a := source("a")
	circle := step("circle", a)
	circle.Inputs[0].Vertex = circle
	for want, g := range map[string]*graph.Graph{
		"root: names a vertex that does not come": {Root: graph.Edge{Vertex: a}},
		"output 1: out of range":                  graph.New(graph.Edge{Vertex: a, Output: 1}),
		"does not come before it":                 graph.New(graph.Edge{Vertex: circle}),
		"listed twice":                            graph.New(graph.Edge{Vertex: step("a", a)}),
		"no ID":                                   graph.New(graph.Edge{Vertex: source("")}),
		"<nil>: not known":                        graph.New(graph.Edge{Vertex: &graph.Vertex{ID: "x"}}),
	} {
		if err := g.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestValidateMounts(t *testing.T) {
	for want, m := range map[string]graph.Mount{
		"no target":                    {Output: -1},
		"cache mount without cache":    {Type: graph.MountCache, Target: "/c", Input: -1, Output: -1},
		"secret mount without secret":  {Type: graph.MountSSH, Target: "/c", Input: -1, Output: -1},
		"the root is no bind mount":    {Type: graph.MountTmpfs, Target: "/", Input: -1, Output: -1},
		"input -2: out of range":       {Target: "/x", Input: -2, Output: -1},
		"output 5: out of range or gi": {Target: "/x", Output: 5},
	} {
		v := step("x", source("a"))
		e, _ := v.Op.(*graph.Exec)
		e.Mounts = append(e.Mounts, m)
		if err := graph.New(graph.Edge{Vertex: v}).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	f := &graph.SourceFile{Name: "Dockerfile", Data: []byte("one\r\ntwo\nthree\nfour\n")}
	for _, c := range []struct {
		start, end, around int
		want               string
	}{
		{2, 3, 1, "1 one|2>two|3>three|4 four"},
		{1, 1, 0, "1>one"},
		{4, 9, 1, "3 three|4>four"},
		{1, 0, 1, "1>one|2 two"},
		{5, 5, 2, ""},
		{0, 0, 2, ""},
	} {
		var got []string
		for _, l := range (graph.Position{File: f, Start: c.start, End: c.end}).Excerpt(c.around) {
			mark := " "
			if l.Marked {
				mark = ">"
			}
			got = append(got, string(rune('0'+l.Number))+mark+l.Text)
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%+v: got %s", c, s)
		}
	}
}

func TestText(t *testing.T) {
	diff := &graph.Vertex{ID: "d", Name: "diff", Op: &graph.Diff{Lower: -1}, Inputs: []graph.Edge{{Vertex: source("a")}}}
	want := `1 source: a
  Identifier: "local://a"
2 diff: diff
  input0=1
  Lower: -1
  Upper: 0
root 2
`
	if got := graph.New(graph.Edge{Vertex: diff}).Text(); got != want {
		t.Errorf("got\n%s", got)
	}
}
