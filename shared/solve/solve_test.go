package solve_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/solve"
	"github.com/strake-build/strake/shared/tree"
)

// worker counts what it is asked to do.
type worker struct {
	do    func(ctx context.Context, v *graph.Vertex) error
	calls sync.Map // vertex ID → *atomic.Int64
}

func (w *worker) Do(ctx context.Context, v *graph.Vertex, _ []tree.Tree, _ op.Log) ([]tree.Tree, error) {
	n, _ := w.calls.LoadOrStore(v.ID, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if w.do == nil {
		return []tree.Tree{{}}, nil
	}
	return []tree.Tree{{}}, w.do(ctx, v)
}

func (w *worker) count(id string) int64 {
	n, ok := w.calls.Load(id)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

type silent struct{}

func (silent) Start(*graph.Vertex) op.Log              { return silent{} }
func (silent) End(*graph.Vertex, time.Duration, error) {}
func (silent) Stdout() io.Writer                       { return io.Discard }
func (silent) Stderr() io.Writer                       { return io.Discard }
func (silent) Warn(string)                             {}
func vertex(id string, inputs ...*graph.Vertex) *graph.Vertex {
	v := &graph.Vertex{ID: id, Name: id, Op: &graph.Merge{}}
	for _, i := range inputs {
		v.Inputs = append(v.Inputs, graph.Edge{Vertex: i})
	}
	return v
}

func TestSharedVertexIsSolvedOnce(t *testing.T) {
	base := vertex("base")
	root := vertex("root", vertex("a", base), vertex("b", base), base)
	w := &worker{}
	s := &solve.Solver{Worker: w, Progress: silent{}}
	for range 2 {
		if _, err := s.Tree(t.Context(), graph.Edge{Vertex: root}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"base", "a", "b", "root"} {
		if n := w.count(id); n != 1 {
			t.Errorf("%s was carried out %d times", id, n)
		}
	}
}

func TestOnlyWhatIsNeeded(t *testing.T) {
	unused := vertex("unused")
	w := &worker{}
	s := &solve.Solver{Worker: w, Progress: silent{}}
	if _, err := s.Tree(t.Context(), graph.Edge{Vertex: vertex("root")}); err != nil {
		t.Fatal(err)
	}
	if n := w.count(unused.ID); n != 0 {
		t.Errorf("an unused vertex was carried out %d times", n)
	}
	if _, err := s.Tree(t.Context(), graph.Edge{}); err != nil {
		t.Errorf("scratch: %v", err)
	}
}

func TestIndependentVerticesRunSideBySide(t *testing.T) {
	var meet sync.WaitGroup
	meet.Add(2)
	w := &worker{do: func(_ context.Context, v *graph.Vertex) error {
		if v.ID != "root" {
			meet.Done()
			meet.Wait() // hangs unless both are here at once
		}
		return nil
	}}
	s := &solve.Solver{Worker: w, Progress: silent{}}
	if _, err := s.Tree(t.Context(), graph.Edge{Vertex: vertex("root", vertex("a"), vertex("b"))}); err != nil {
		t.Fatal(err)
	}
}

func TestFailureStopsTheRestAndNamesItsPlace(t *testing.T) {
	broken := errors.New("broken")
	w := &worker{do: func(ctx context.Context, v *graph.Vertex) error {
		if v.ID == "bad" {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	bad := vertex("bad")
	bad.Positions = []graph.Position{{File: &graph.SourceFile{Name: "Dockerfile"}, Start: 7}}
	s := &solve.Solver{Worker: w, Progress: silent{}}
	_, err := s.Tree(t.Context(), graph.Edge{Vertex: vertex("root", vertex("slow"), bad)})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want the failing vertex's error", err)
	}
	if !strings.HasPrefix(err.Error(), "Dockerfile:7: bad: ") {
		t.Errorf("the error does not begin with its place: %v", err)
	}
	if w.count("root") != 0 {
		t.Error("the root was carried out on a failed input")
	}
}

func TestCancelGivesTheCause(t *testing.T) {
	cause := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &worker{do: func(ctx context.Context, _ *graph.Vertex) error {
		cancel(cause)
		<-ctx.Done()
		return ctx.Err()
	}}
	s := &solve.Solver{Worker: w, Progress: silent{}}
	if _, err := s.Tree(ctx, graph.Edge{Vertex: vertex("root")}); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}
