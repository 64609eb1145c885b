package progress

import (
	"io"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op"
)

// Quiet is a progress that says nothing.
type Quiet struct{}

// Start announces nothing.
func (Quiet) Start(*graph.Vertex) op.Log { return Quiet{} }

// End says nothing.
func (Quiet) End(*graph.Vertex, time.Duration, error) {}

// Stdout drops what a step prints.
func (Quiet) Stdout() io.Writer { return io.Discard }

// Stderr drops what a step prints.
func (Quiet) Stderr() io.Writer { return io.Discard }

// Warn drops a warning.
func (Quiet) Warn(string) {}
