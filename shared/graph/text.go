package graph

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Text prints the graph for people and for golden tests: every field of every
// operation that is not zero, vertices numbered from 1 in place of their IDs.
func (g *Graph) Text() string {
	var p textPrinter
	p.numbers = make(map[*Vertex]int, len(g.Vertices))
	for i, v := range g.Vertices {
		p.numbers[v] = i + 1
		p.vertex(i+1, v)
	}
	fmt.Fprintf(&p, "root %s\n", p.edge(g.Root))
	return p.String()
}

func platformText(p *ocispecs.Platform) string {
	parts := []string{p.OS, p.Architecture, p.Variant, p.OSVersion}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// String names the network as RUN --network does.
func (n Network) String() string { return nameOf(n, "default", "host", "none") }

// String names the type as RUN --mount=type= does.
func (t MountType) String() string { return nameOf(t, "bind", "cache", "tmpfs", "secret", "ssh") }

// String names the way of sharing as RUN --mount=type=cache,sharing= does.
func (s Sharing) String() string { return nameOf(s, "shared", "private", "locked") }

func nameOf[T ~int](v T, names ...string) string {
	if int(v) < 0 || int(v) >= len(names) {
		return strconv.Itoa(int(v))
	}
	return names[v]
}

type textPrinter struct {
	strings.Builder
	numbers map[*Vertex]int
}

func (p *textPrinter) vertex(n int, v *Vertex) {
	kind := strings.ToLower(reflect.TypeOf(v.Op).Elem().Name())
	fmt.Fprintf(p, "%d %s: %s\n", n, kind, v.Name)
	var facts []string
	for _, at := range v.Positions {
		facts = append(facts, at.String())
	}
	if v.Platform != nil {
		facts = append(facts, platformText(v.Platform))
	}
	if v.IgnoreCache {
		facts = append(facts, "no cache")
	}
	for i, in := range v.Inputs {
		facts = append(facts, fmt.Sprintf("input%d=%s", i, p.edge(in)))
	}
	if len(facts) > 0 {
		fmt.Fprintf(p, "  %s\n", strings.Join(facts, " "))
	}
	p.op(v.Op)
}

func (p *textPrinter) edge(e Edge) string {
	switch {
	case e.Vertex == nil:
		return "scratch"
	case e.Output == 0:
		return strconv.Itoa(p.numbers[e.Vertex])
	}
	return fmt.Sprintf("%d.%d", p.numbers[e.Vertex], e.Output)
}

// op prints a line per mount, action or attribute, and one per other field.
func (p *textPrinter) op(op Op) {
	v := reflect.ValueOf(op).Elem()
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		switch {
		case f.IsZero() && !isIndex(name):
		case name == "Actions" || name == "Mounts":
			for j := range f.Len() {
				fmt.Fprintf(p, "  %s %d: %s\n", strings.TrimSuffix(name, "s"), j, fields(f.Index(j)))
			}
		default:
			fmt.Fprintf(p, "  %s: %s\n", name, value(f))
		}
	}
}

// isIndex says that 0 is not the same as nothing for this field.
func isIndex(field string) bool {
	return slices.Contains([]string{"Input", "Secondary", "Output", "Lower", "Upper"}, field)
}

// fields gives the fields of a struct as name=value.
func fields(v reflect.Value) string {
	var parts []string
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		switch {
		case f.IsZero() && !isIndex(name):
		case name == "Mode" && f.Interface() != int32(-1):
			parts = append(parts, fmt.Sprintf("Mode=%#o", f.Interface()))
		default:
			parts = append(parts, name+"="+value(f))
		}
	}
	return strings.Join(parts, " ")
}

func value(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case *time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case *ocispecs.Platform:
		return platformText(x)
	case fmt.Stringer:
		return x.String()
	case []byte:
		return strconv.Quote(string(x))
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return value(v.Elem())
	case reflect.Struct:
		return v.Type().Name() + "{" + fields(v) + "}"
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = value(v.Index(i))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case reflect.Map:
		parts := make([]string, 0, v.Len())
		for _, k := range v.MapKeys() {
			parts = append(parts, k.String()+"="+value(v.MapIndex(k)))
		}
		slices.Sort(parts)
		return "[" + strings.Join(parts, " ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
