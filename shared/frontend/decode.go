package frontend

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/graph"
)

// decoder turns LLB definitions into graphs. Vertices that are equal, by the
// digest of their operation with its inputs, are one over all that it decodes.
type decoder struct {
	outputs map[string][]graph.Edge // of an operation, by its digest
	files   []*graph.SourceFile
	secrets attest.Redactor // of names
}

// newDecoder makes a decoder that knows a file already, if that is not nil.
func newDecoder(file *graph.SourceFile) *decoder {
	d := &decoder{outputs: make(map[string][]graph.Edge)}
	if file != nil {
		d.files = append(d.files, file)
	}
	return d
}

// graph decodes a definition: operations in order, inputs before their users,
// and last one without an operation, whose input is the result.
func (d *decoder) graph(def *pb.Definition) (*graph.Graph, error) {
	if len(def.GetDef()) == 0 {
		return &graph.Graph{}, nil
	}
	last := len(def.Def) - 1
	for _, data := range def.Def[:last] {
		if err := d.add(def, data); err != nil {
			return nil, err
		}
	}
	var op pb.Op
	if err := op.UnmarshalVT(def.Def[last]); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if op.Op != nil || len(op.Inputs) != 1 {
		return nil, fmt.Errorf("root: operation %T with %d inputs in place of a result", op.Op, len(op.Inputs))
	}
	root, err := d.edge(op.Inputs[0])
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	g := graph.New(root)
	return g, g.Validate()
}

// add decodes an operation unless it is known.
func (d *decoder) add(def *pb.Definition, data []byte) error {
	id := digest.FromBytes(data).String()
	if _, ok := d.outputs[id]; ok {
		return nil
	}
	var op pb.Op
	if err := op.UnmarshalVT(data); err != nil {
		return fmt.Errorf("vertex %s: %w", id, err)
	}
	outputs, err := d.vertex(def, id, &op)
	if err != nil {
		return fmt.Errorf("vertex %s %s: %w", id, def.Metadata[id].GetDescription()[nameKey], err)
	}
	d.outputs[id] = outputs
	return nil
}

// nameKey is where client/llb keeps what WithCustomName was given.
const nameKey = "llb.customname"

// vertex decodes an operation and gives its outputs.
func (d *decoder) vertex(def *pb.Definition, id string, op *pb.Op) ([]graph.Edge, error) {
	inputs := make([]graph.Edge, len(op.Inputs))
	for i, in := range op.Inputs {
		var err error
		if inputs[i], err = d.edge(in); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	if pass := op.GetPassthrough(); pass != nil {
		return passthrough(pass, inputs)
	}
	meta := def.Metadata[id]
	decoded, err := decodeOp(op, meta)
	if err != nil {
		return nil, err
	}
	v := &graph.Vertex{
		ID:          id,
		Name:        meta.GetDescription()[nameKey],
		Inputs:      inputs,
		Op:          decoded,
		IgnoreCache: meta.GetIgnoreCache(),
	}
	if v.Name == "" {
		v.Name = fallbackName(decoded)
	}
	if v.Name = d.secrets.Instruction(v.Name); isSource(decoded) {
		v.Name = d.secrets.Text(v.Name)
	}
	if op.Platform != nil {
		p := op.Platform.Spec()
		v.Platform = &p
	}
	if v.Positions, err = d.positions(def.Source, id); err != nil {
		return nil, err
	}
	outputs := make([]graph.Edge, v.Outputs())
	for i := range outputs {
		outputs[i] = graph.Edge{Vertex: v, Output: i}
	}
	return outputs, nil
}

func isSource(op graph.Op) bool {
	_, ok := op.(*graph.Source)
	return ok
}

func (d *decoder) edge(in *pb.Input) (graph.Edge, error) {
	outputs, ok := d.outputs[in.Digest]
	if !ok {
		return graph.Edge{}, fmt.Errorf("%s does not come before it", in.Digest)
	}
	if in.Index < 0 || in.Index >= int64(len(outputs)) {
		return graph.Edge{}, fmt.Errorf("output %d of %s: out of range", in.Index, in.Digest)
	}
	return outputs[in.Index], nil
}

// passthrough names inputs as outputs: its users are given those directly.
// Inputs that are only waited for have no place in a graph; no Dockerfile
// makes them.
func passthrough(op *pb.PassthroughOp, inputs []graph.Edge) ([]graph.Edge, error) {
	used := make(map[int64]bool)
	outputs := make([]graph.Edge, len(op.Outputs))
	for i, in := range op.Outputs {
		if in < 0 || in >= int64(len(inputs)) {
			return nil, fmt.Errorf("output %d names input %d: out of range", i, in)
		}
		outputs[i], used[in] = inputs[in], true
	}
	if len(used) < len(inputs) {
		return nil, errors.New("passthrough operation with an input that is no output: not supported")
	}
	return outputs, nil
}

// positions finds where in its files the operation comes from.
func (d *decoder) positions(src *pb.Source, id string) ([]graph.Position, error) {
	if src == nil {
		return nil, nil
	}
	var out []graph.Position
	for _, loc := range src.Locations[id].GetLocations() {
		i := loc.GetSourceIndex()
		if i < 0 || int(i) >= len(src.Infos) {
			return nil, fmt.Errorf("source file %d: out of range", i)
		}
		out = append(out, joinLines(d.file(src.Infos[i]), lines(loc.Ranges))...)
	}
	return out, nil
}

func lines(ranges []*pb.Range) [][2]int {
	out := make([][2]int, len(ranges))
	for i, r := range ranges {
		out[i] = [2]int{int(r.GetStart().GetLine()), int(r.GetEnd().GetLine())}
	}
	return out
}

// file gives the one SourceFile of equal files.
func (d *decoder) file(info *pb.SourceInfo) *graph.SourceFile {
	for _, f := range d.files {
		if f.Name == info.GetFilename() && string(f.Data) == string(info.GetData()) {
			return f
		}
	}
	f := &graph.SourceFile{Name: info.GetFilename(), Data: info.GetData()}
	d.files = append(d.files, f)
	return f
}

// decodeSource leaves out what names a session: two builds' sources are the
// same whoever asks for them.
func decodeSource(op *pb.SourceOp) (*graph.Source, error) {
	if op == nil {
		return nil, errors.New("source operation without a source")
	}
	attrs := maps.Clone(op.Attrs)
	for _, k := range []string{pb.AttrLocalSessionID, pb.AttrSharedKeyHint, pb.AttrOCILayoutSessionID} {
		delete(attrs, k)
	}
	if len(attrs) == 0 {
		attrs = nil
	}
	return &graph.Source{Identifier: op.Identifier, Attrs: attrs}, nil
}

func fallbackName(op graph.Op) string {
	switch op := op.(type) {
	case *graph.Source:
		return op.Identifier
	case *graph.Exec:
		return fmt.Sprintf("%q", op.Args)
	default:
		return strings.ToLower(fmt.Sprintf("%T", op)[len("*graph."):])
	}
}
