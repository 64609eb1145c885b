package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/solver/pb"

	"github.com/strake-build/strake/shared/graph"
)

// Report is an answer about a Dockerfile, as BuildKit writes it.
type Report struct {
	JSON []byte
	Text string
}

// LintResult is what the linter says of all stages, or of the target.
type LintResult struct {
	Report
	Warnings []Warning
	// Err is why the Dockerfile cannot be built, or nil.
	Err *Error
}

// Lint checks a Dockerfile without building it. It returns an error only when
// it could not look at the Dockerfile.
func Lint(ctx context.Context, req Request, e Engine) (_ *LintResult, err error) {
	s, err := open(ctx, req, e, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer recovered(&err)

	found, err := dockerfile2llb.DockerfileLint(ctx, s.src.Data, s.options())
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	res := &LintResult{}
	for _, w := range found.Warnings {
		res.Warnings = append(res.Warnings, Warning{
			Rule: w.RuleName, Short: w.Detail, URL: w.URL, Detail: w.Description,
			Position: s.span(w.Location),
		})
	}
	slices.SortStableFunc(res.Warnings, func(a, b Warning) int {
		return a.Position.Start - b.Position.Start
	})
	if b := found.Error; b != nil {
		res.Err = &Error{File: s.file, Err: &lintError{message: b.Message, cause: s.gateway.failure}}
		res.Err.Positions = joinLines(s.file, lines(b.Location.GetRanges()))
	}
	res.Report, err = lintReport(found)
	return res, err
}

// lintReport leaves out how the Dockerfile was fetched: nobody who reads the
// report can do anything with LLB.
func lintReport(found *lint.LintResults) (Report, error) {
	for _, src := range found.Sources {
		src.Definition = nil
	}
	return report(found.ToResult(nil))
}

// span is one position from the first line to the last.
func (s *session) span(loc *pb.Location) graph.Position {
	all := joinLines(s.file, lines(loc.GetRanges()))
	if len(all) == 0 {
		return graph.Position{File: s.file}
	}
	return graph.Position{File: s.file, Start: all[0].Start, End: all[len(all)-1].End}
}

// lintError is an error that the linter turned into text, with the engine's
// error that it came from, if there was one.
type lintError struct {
	message string
	cause   error
}

func (e *lintError) Error() string { return e.message }
func (e *lintError) Unwrap() error { return e.cause }

// Outline lists the target's arguments, secrets and mounts.
func Outline(ctx context.Context, req Request, e Engine) (_ *Report, err error) {
	s, err := open(ctx, req, e, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer recovered(&err)

	found, err := dockerfile2llb.Dockerfile2Outline(ctx, s.src.Data, s.options())
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	r, err := report(found.ToResult())
	return &r, err
}

// Targets lists the stages that can be built.
func Targets(ctx context.Context, req Request, e Engine) (_ *Report, err error) {
	s, err := open(ctx, req, e, nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	defer recovered(&err)

	found, err := dockerfile2llb.ListTargets(ctx, s.src.Data)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	r, err := report(found.ToResult())
	return &r, err
}

func report(res *client.Result, err error) (Report, error) {
	if err != nil {
		return Report{}, fmt.Errorf("write report: %w", err)
	}
	dt := res.Metadata["result.json"]
	if !json.Valid(dt) {
		return Report{}, fmt.Errorf("write report: no JSON in the result")
	}
	return Report{JSON: dt, Text: string(res.Metadata["result.txt"])}, nil
}
