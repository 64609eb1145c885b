package frontend

import (
	"fmt"
	"math"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/strake-build/strake/shared/graph"
)

// decodeOp decodes what an operation does. Indices are only brought over here:
// graph.Validate checks them.
func decodeOp(op *pb.Op, meta *pb.OpMetadata) (graph.Op, error) {
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		return decodeSource(o.Source)
	case *pb.Op_Exec:
		return decodeExec(o.Exec, meta.GetLinuxResources())
	case *pb.Op_File:
		return decodeFile(o.File)
	case *pb.Op_Merge:
		m := &graph.Merge{}
		for _, in := range o.Merge.GetInputs() {
			m.Inputs = append(m.Inputs, index(in.GetInput()))
		}
		return m, nil
	case *pb.Op_Diff:
		return &graph.Diff{
			Lower: index(o.Diff.GetLower().GetInput()),
			Upper: index(o.Diff.GetUpper().GetInput()),
		}, nil
	default:
		name := strings.TrimPrefix(fmt.Sprintf("%T", op.Op), "*pb.Op_")
		return nil, fmt.Errorf("operation %s: not supported", name)
	}
}

// index narrows an index; one that is out of any range stays so.
func index(i int64) int {
	return int(min(max(i, math.MinInt32), math.MaxInt32))
}
