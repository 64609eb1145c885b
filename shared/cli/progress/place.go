package progress

import (
	"errors"
	"fmt"
	"strings"

	"github.com/strake-build/strake/shared/attest"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/solve"
)

// around is how many lines of a Dockerfile are shown before and after the one in question.
const around = 3

// Place is where in a Dockerfile an error arose.
type Place struct {
	Step  string // the step, where one was running
	Line  int    // 0 where it is about no line
	Lines []graph.Line
}

// Where finds the place of an error, if it has one.
func Where(err error) (p Place, ok bool) {
	at := func(list []graph.Position) {
		if n := len(list); n > 0 {
			p.Line, p.Lines = list[n-1].Start, list[n-1].Excerpt(around)
		}
	}
	if e, is := errors.AsType[*frontend.Error](err); is {
		at(e.Positions)
		ok = true
	}
	if e, is := errors.AsType[*solve.Error](err); is {
		at(e.Vertex.Positions)
		p.Step = e.Vertex.Name
		ok = true
	}
	return p, ok
}

// Excerpt are the lines with their numbers, the one in question marked. Addresses
// stand there without credentials: a log is read by more people than a Dockerfile.
func (p Place) Excerpt() string {
	var b strings.Builder
	for _, l := range p.Lines {
		mark := "   "
		if l.Marked {
			mark = ">>>"
		}
		fmt.Fprintf(&b, "%4d | %s %s\n", l.Number, mark, attest.Redactor{}.Text(l.Text))
	}
	return b.String()
}
