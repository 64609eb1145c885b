package main

import (
	"errors"
	"net/http"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/buildcontext"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/op/source"
)

// exit says which code the program ends with, and the name of the error's class:
// those of all commands, and what only a build can meet. A failing step's own
// code passes through.
func exit(err error) (code int, class string) {
	if _, signal := errors.AsType[*shared.Signalled](err); !signal {
		if e, ok := errors.AsType[*run.ExitError](err); ok {
			return e.ExitCode(), "step"
		}
	}
	return shared.Exit(err, shared.Classes{
		Early: []shared.Class{
			{Code: shared.ExitUsage, Name: "usage", Match: shared.Is(run.ErrNoSecret, run.ErrNoAgent, frontend.ErrOption)},
			{Code: shared.ExitIntegrity, Name: "integrity", Match: shared.As[*source.ChecksumError]},
			{Code: shared.ExitUnavailable, Name: "unavailable", Match: shared.Is(source.ErrUnavailable)},
			{Code: shared.ExitDenied, Name: "denied", Match: denied},
			{Code: shared.ExitNoInput, Name: "not found", Match: shared.As[*source.StatusError]},
		},
		Late: []shared.Class{
			{Code: shared.ExitNoInput, Name: "not found", Match: shared.Is(build.ErrNoContext)},
			{Code: shared.ExitDockerfile, Name: "context", Match: shared.As[*buildcontext.ArchiveError]},
			{Code: shared.ExitConfig, Name: "environment", Match: shared.As[*build.EnvironmentError]},
			{Code: shared.ExitDockerfile, Name: "dockerfile", Match: shared.As[*frontend.Error]},
			{Code: shared.ExitDockerfile, Name: "unsupported", Match: shared.As[*run.Unsupported]},
		},
	})
}

// denied tells whether a web server or a repository refused us.
func denied(err error) bool {
	s, ok := errors.AsType[*source.StatusError](err)
	return errors.Is(err, source.ErrDenied) || ok && (s.Code == http.StatusUnauthorized || s.Code == http.StatusForbidden)
}
