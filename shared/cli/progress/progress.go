// Package progress is what a build says while it runs: its steps, what they print, where in a Dockerfile one failed, and what the cache was good for.
package progress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/logging"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/solve"
)

// tailLines is how much of a failing step's output is shown again with its error.
const tailLines = 20

// Progress writes what a build does as lines, in the manner of `docker build
// --progress=plain`, or as JSON. What steps print stands behind their number
// and never starts a line.
type Progress struct {
	w     io.Writer
	json  *zerolog.Logger // nil for lines
	level zerolog.Level
	// CI reads what is written; what comes from strangers is no command to it.
	CI cli.CI

	mu    sync.Mutex
	steps map[string]*step
	next  int
	times []StepTime
}

// StepTime is how long a step took.
type StepTime struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// New writes to w, in the format of the log.
func New(w io.Writer, log zerolog.Logger, f logging.Format) *Progress {
	p := &Progress{w: w, steps: make(map[string]*step), level: log.GetLevel()}
	if f == logging.JSON {
		p.json = &log
	}
	return p
}

// step is one vertex being carried out. Its writers hold back what does not end
// a line yet.
type step struct {
	p       *Progress
	n       int
	name    string
	started time.Time

	mu   sync.Mutex
	tail [][]byte
	out  lineWriter
	err  lineWriter
}

// Start announces a step.
func (p *Progress) Start(v *graph.Vertex) op.Log {
	p.mu.Lock()
	p.next++
	s := &step{p: p, n: p.next, name: p.CI.NeutralText(v.Name), started: time.Now()}
	s.out.line = func(l []byte) { s.line("stdout", l) }
	s.err.line = func(l []byte) { s.line("stderr", l) }
	p.steps[v.ID] = s
	p.mu.Unlock()
	if p.json != nil {
		p.json.Info().Int("step", s.n).Str("name", s.name).Msg("started")
		return s
	}
	p.printf(zerolog.InfoLevel, "#%d %s\n", s.n, s.name)
	return s
}

// End says how a step ended.
func (p *Progress) End(v *graph.Vertex, took time.Duration, err error) {
	p.mu.Lock()
	s := p.steps[v.ID]
	t := StepTime{Name: v.Name, Seconds: took.Seconds()}
	if err != nil {
		t.Error = err.Error()
	}
	p.times = append(p.times, t)
	p.mu.Unlock()
	s.out.flush()
	s.err.flush()
	switch {
	case p.json != nil && err != nil:
		p.json.Error().Int("step", s.n).Str("name", s.name).Dur("took", took).Str("error", p.CI.NeutralText(err.Error())).Msg("failed")
	case p.json != nil:
		p.json.Info().Int("step", s.n).Str("name", s.name).Dur("took", took).Msg("done")
	case err != nil:
		p.printf(zerolog.ErrorLevel, "#%d ERROR: %s\n", s.n, p.CI.NeutralText(err.Error()))
	default:
		p.printf(zerolog.InfoLevel, "#%d DONE %.1fs\n", s.n, took.Seconds())
	}
}

// Times returns how long each step took, in the order in which they ended.
func (p *Progress) Times() []StepTime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.times
}

// Tail returns the last lines that a step printed.
func (p *Progress) Tail(v *graph.Vertex) []string {
	p.mu.Lock()
	s := p.steps[v.ID]
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.tail {
		out = append(out, string(l))
	}
	return out
}

func (p *Progress) printf(l zerolog.Level, format string, args ...any) {
	if l < p.level {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format, args...)
}

// Stdout takes what the step prints.
func (s *step) Stdout() io.Writer { return &s.out }

// Stderr takes what the step prints as errors.
func (s *step) Stderr() io.Writer { return &s.err }

// Warn says something of ours about the step.
func (s *step) Warn(msg string) {
	if s.p.json != nil {
		s.p.json.Warn().Int("step", s.n).Msg(msg)
		return
	}
	s.p.printf(zerolog.WarnLevel, "#%d WARN: %s\n", s.n, msg)
}

func (s *step) line(stream string, l []byte) {
	s.mu.Lock()
	s.tail = append(s.tail, bytes.Clone(l))
	if len(s.tail) > tailLines {
		s.tail = s.tail[1:]
	}
	s.mu.Unlock()
	if s.p.json != nil {
		s.p.json.Info().Int("step", s.n).Str("stream", stream).Msg(s.p.CI.NeutralText(string(l)))
		return
	}
	s.p.printf(zerolog.InfoLevel, "#%d %.3f %s\n", s.n, time.Since(s.started).Seconds(), s.p.CI.Neutral(l))
}

// maxLine is where a line without an end is broken.
const maxLine = 64 << 10

// lineWriter cuts a stream into lines. A carriage return ends a line as well, so
// that a progress bar cannot hide what stood there.
type lineWriter struct {
	mu   sync.Mutex
	buf  []byte
	cr   bool // the last line ended with a carriage return
	line func([]byte)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	for {
		i := bytes.IndexAny(w.buf, "\n\r")
		if i < 0 {
			break
		}
		if i > 0 || w.buf[i] == '\n' && !w.cr {
			w.line(w.buf[:i])
		}
		w.cr = w.buf[i] == '\r'
		w.buf = w.buf[i+1:]
	}
	if len(w.buf) > maxLine {
		w.line(w.buf)
		w.buf = nil
	}
	return len(p), nil
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.line(w.buf)
		w.buf = nil
	}
}

// Lint writes a build check's warning with its place.
func (p *Progress) Lint(w frontend.Warning) {
	if p.json != nil {
		p.json.Warn().Str("rule", w.Rule).Str("at", w.Position.String()).Str("url", w.URL).Msg(p.CI.NeutralText(w.Short))
		return
	}
	p.printf(zerolog.WarnLevel, "WARN: %s\n", p.CI.NeutralText(w.String()))
}

// Explain writes what helps to understand err: the lines of the Dockerfile and
// the last of what the step printed. JSON logs have the step's lines already.
func (p *Progress) Explain(err error) {
	if p.json != nil {
		return
	}
	place, _ := Where(err)
	var tail []string
	if e, ok := errors.AsType[*solve.Error](err); ok {
		tail = p.Tail(e.Vertex)
	}
	var b strings.Builder
	if len(tail) > 0 {
		b.WriteString("------ last output of the step\n")
		for _, l := range tail {
			fmt.Fprintf(&b, " > %s\n", p.CI.NeutralText(l))
		}
	}
	if text := place.Excerpt(); text != "" {
		b.WriteString("------\n" + p.CI.NeutralText(text) + "------\n")
	}
	p.printf(zerolog.ErrorLevel, "%s", b.String())
}
