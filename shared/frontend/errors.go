package frontend

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/strake-build/strake/shared/graph"
)

// Error is what is wrong with a Dockerfile, or happened at a line of it.
type Error struct {
	// File is the Dockerfile.
	File *graph.SourceFile
	// Positions are none when the error is about no line, the most specific last.
	Positions []graph.Position
	// Err is the cause; errors of the Engine are in its chain.
	Err error
}

// Error gives "Dockerfile:3: unknown instruction: RUUN (did you mean RUN?)".
func (e *Error) Error() string {
	where := e.File.Name
	if n := len(e.Positions); n > 0 {
		where = e.Positions[n-1].String()
	}
	return where + ": " + parseErrorPrefix.ReplaceAllString(e.Err.Error(), "")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Excerpt gives the lines that the error is about, and some around them.
func (e *Error) Excerpt(around int) []graph.Line {
	if len(e.Positions) == 0 {
		return nil
	}
	return e.Positions[len(e.Positions)-1].Excerpt(around)
}

// parseErrorPrefix says again, and less well, what the position says.
var parseErrorPrefix = regexp.MustCompile(`^dockerfile parse error on line \d+: `)

// PanicError is a bug in BuildKit's frontend or in this package.
type PanicError struct {
	Value any
	Stack []byte
}

// Error gives the panic's value; the stack is for bug reports.
func (e *PanicError) Error() string {
	return fmt.Sprintf("internal error of the frontend: %v", e.Value)
}

// recovered turns a panic into an error. BuildKit's code meets whatever a
// stranger writes into a Dockerfile, and must not take other builds with it.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// wrap gives an error of a conversion its place.
func (s *session) wrap(ctx context.Context, err error) error {
	var bug *PanicError
	if err == nil || ctx.Err() != nil || errors.As(err, &bug) {
		return err
	}
	out := &Error{File: s.file, Err: err}
	var at *parser.LocationError
	if errors.As(err, &at) {
		for _, ranges := range slices.Backward(at.Locations) { // the innermost came first
			out.Positions = append(out.Positions, s.positions(ranges)...)
		}
	}
	return out
}

// positions joins ranges, which the parser makes one per line.
func (s *session) positions(ranges []parser.Range) []graph.Position {
	lines := make([][2]int, len(ranges))
	for i, r := range ranges {
		lines[i] = [2]int{r.Start.Line, r.End.Line}
	}
	return joinLines(s.file, lines)
}

// joinLines makes positions of pairs of first and last lines.
func joinLines(file *graph.SourceFile, lines [][2]int) []graph.Position {
	var out []graph.Position
	for _, l := range lines {
		start, end := l[0], max(l[0], l[1])
		if n := len(out); n > 0 && out[n-1].End+1 == start {
			out[n-1].End = end
			continue
		}
		if start > 0 {
			out = append(out, graph.Position{File: file, Start: start, End: end})
		}
	}
	return out
}
