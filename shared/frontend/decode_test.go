package frontend

import (
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/graph"
)

// definition marshals ops, each of which gets the one before it as an input
// unless it has inputs, and a root above the last.
func definition(t *testing.T, ops ...*pb.Op) *pb.Definition {
	t.Helper()
	def := &pb.Definition{}
	var last digest.Digest
	for i, op := range append(ops, &pb.Op{}) {
		if i > 0 && op.Inputs == nil {
			op.Inputs = []*pb.Input{{Digest: last.String()}}
		}
		data, err := op.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		last = digest.FromBytes(data)
		def.Def = append(def.Def, data)
	}
	return def
}

func source() *pb.Op {
	return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "local://context", Attrs: map[string]string{"local.session": "x"}}}}
}

func run(mounts ...*pb.Mount) *pb.Op {
	return &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{Meta: &pb.Meta{Args: []string{"true"}}, Mounts: mounts}}}
}

func file(actions ...*pb.FileAction) *pb.Op {
	return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: actions}}}
}

func remove(input, output int64) *pb.FileAction {
	return &pb.FileAction{Input: input, SecondaryInput: -1, Output: output, Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/x"}}}
}

func TestDecodeRefuses(t *testing.T) {
	root := &pb.Mount{Dest: "/"}
	for name, c := range map[string]struct {
		ops  []*pb.Op
		want string
	}{
		"no source":          {[]*pb.Op{{Op: &pb.Op_Source{}}}, "without identifier"},
		"build operation":    {[]*pb.Op{source(), {Op: &pb.Op_Build{Build: &pb.BuildOp{}}}}, "operation Build: not supported"},
		"no operation":       {[]*pb.Op{source(), {}}, "operation <nil>: not supported"},
		"unknown input":      {[]*pb.Op{{Inputs: []*pb.Input{{Digest: "sha256:1"}}, Op: source().Op}}, "does not come before it"},
		"source with input":  {[]*pb.Op{source(), source()}, "source with 1 inputs"},
		"output":             {[]*pb.Op{source(), {Inputs: []*pb.Input{{Digest: "", Index: 0}}}}, "does not come before it"},
		"no root mount":      {[]*pb.Op{source(), run(&pb.Mount{Dest: "/x"})}, "0 root file systems"},
		"two root mounts":    {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/", Output: 1})}, "2 root file systems"},
		"mount input":        {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/x", Input: 1, Output: -1})}, "input 1: out of range"},
		"huge mount input":   {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/x", Input: 1 << 40, Output: -1})}, "out of range"},
		"mount output":       {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/x", Output: 2})}, "output 2: out of range"},
		"output twice":       {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/x", Output: 0})}, "given twice"},
		"mount type":         {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/x", MountType: 9})}, "type 9: not supported"},
		"mount of a result":  {[]*pb.Op{source(), run(root, &pb.Mount{Dest: "/x", ResultID: "r"})}, "result r: not supported"},
		"nothing to run":     {[]*pb.Op{source(), {Op: &pb.Op_Exec{Exec: &pb.ExecOp{Mounts: []*pb.Mount{root}}}}}, "without arguments"},
		"network":            {[]*pb.Op{source(), {Op: &pb.Op_Exec{Exec: &pb.ExecOp{Network: 7}}}}, "network 7: not supported"},
		"no actions":         {[]*pb.Op{source(), file()}, "output 0 of"},
		"no action":          {[]*pb.Op{source(), file(&pb.FileAction{})}, "<nil>: not supported"},
		"action input":       {[]*pb.Op{source(), file(remove(1, 0))}, "input 1: out of range"},
		"later action":       {[]*pb.Op{source(), file(remove(0, -1), remove(2, 0))}, "input 2: out of range"},
		"missing output":     {[]*pb.Op{source(), file(remove(0, 1), remove(1, -1))}, "output 0: nothing yields it"},
		"merge input":        {[]*pb.Op{source(), {Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 3}}}}}}, "merge input 3"},
		"diff input":         {[]*pb.Op{source(), {Op: &pb.Op_Diff{Diff: &pb.DiffOp{Upper: &pb.UpperDiffInput{Input: 1}}}}}, "upper input 1"},
		"passthrough input":  {[]*pb.Op{source(), {Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "p", Outputs: []int64{1}}}}}, "names input 1"},
		"passthrough waits":  {[]*pb.Op{source(), {Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "p"}}}}, "not supported"},
		"named user's input": {[]*pb.Op{source(), file(chowned(5))}, "input of user u 5"},
	} {
		_, err := newDecoder(nil).graph(definition(t, c.ops...))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func chowned(input int64) *pb.FileAction {
	user := &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "u", Input: input}}}
	return &pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d", Owner: &pb.ChownOpt{User: user}}}}
}

func TestDecodeBrokenDefinitions(t *testing.T) {
	good := definition(t, source())
	for name, def := range map[string]*pb.Definition{
		"no root":      {Def: good.Def[:1]},
		"only a root":  {Def: good.Def[1:]},
		"garbage":      {Def: [][]byte{{0xff, 0xff}, good.Def[1]}},
		"garbage root": {Def: [][]byte{good.Def[0], {0xff}}},
		"source file": {Def: good.Def, Source: &pb.Source{Locations: map[string]*pb.Locations{
			digest.FromBytes(good.Def[0]).String(): {Locations: []*pb.Location{{SourceIndex: 1}}},
		}}},
	} {
		if g, err := newDecoder(nil).graph(def); err == nil {
			t.Errorf("%s: no error, but\n%s", name, g.Text())
		}
	}
	if g, err := newDecoder(nil).graph(nil); err != nil || g.Root.Vertex != nil {
		t.Errorf("nothing: %v, %v", g, err)
	}
}

func TestDecodePassthrough(t *testing.T) {
	pass := &pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "p", Outputs: []int64{0}}}}
	g, err := newDecoder(nil).graph(definition(t, source(), pass, file(remove(0, 0))))
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Vertices) != 2 || g.Root.Vertex.Inputs[0].Vertex != g.Vertices[0] {
		t.Errorf("graph\n%s", g.Text())
	}
	src, ok := g.Vertices[0].Op.(*graph.Source)
	if !ok || src.Attrs != nil || g.Vertices[0].Name != "local://context" || g.Root.Vertex.Name != "file" {
		t.Errorf("graph\n%s", g.Text())
	}
}

func TestDecodeSharesOverDefinitions(t *testing.T) {
	d := newDecoder(nil)
	one, err := d.graph(definition(t, source(), file(remove(0, 0))))
	if err != nil {
		t.Fatal(err)
	}
	two, err := d.graph(definition(t, source(), run(&pb.Mount{Dest: "/"})))
	if err != nil {
		t.Fatal(err)
	}
	if one.Vertices[0] != two.Vertices[0] || len(two.Vertices) != 2 {
		t.Error("two vertices for one source")
	}
}

func FuzzDecode(f *testing.F) {
	good := &pb.Definition{Def: [][]byte{}}
	data, err := good.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var def pb.Definition
		if def.Unmarshal(data) != nil {
			return
		}
		if g, err := newDecoder(nil).graph(&def); err == nil {
			g.Text()
		}
	})
}
