package graph

// New makes the graph of everything that root needs. Vertices come in the
// order of a depth-first walk, so that equal roots list them in equal order.
func New(root Edge) *Graph {
	g := &Graph{Root: root}
	g.add(root.Vertex, make(map[*Vertex]bool))
	return g
}

func (g *Graph) add(v *Vertex, seen map[*Vertex]bool) {
	if v == nil || seen[v] {
		return
	}
	seen[v] = true
	for _, in := range v.Inputs {
		g.add(in.Vertex, seen)
	}
	g.Vertices = append(g.Vertices, v)
}
