// Package cli is what the commands have in common: exit codes, signals, progress and flag groups.
package cli

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"syscall"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/credentials"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/op/source"
	"github.com/strake-build/strake/shared/registry"
)

// The exit codes of our own failures, after sysexits.h. A failing RUN's own code
// passes through instead.
const (
	ExitUsage       = 64 // the command line
	ExitDockerfile  = 65 // the Dockerfile, or a lint rule that counts as an error; a context that is no archive as it should be
	ExitNoInput     = 66 // a context, source, base image or blob that is not there
	ExitUnavailable = 69 // a registry that could not be reached after retries
	ExitInternal    = 70 // all else
	ExitCantCreate  = 73 // no space, no memory, no right to write
	ExitTemporary   = 75 // safe to try again
	ExitIntegrity   = 76 // bytes that are not what their digest says
	ExitDenied      = 77 // 401, 403, a policy
	ExitConfig      = 78 // a configuration, or an environment, that cannot work
)

// UsageError is a mistake on the command line.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Signalled is the cause of a context that a signal cancelled.
type Signalled struct{ Signal os.Signal }

func (e *Signalled) Error() string { return "stopped by signal: " + e.Signal.String() }

// class is a group of errors with its exit code and its name in logs.
type class struct {
	code  int
	name  string
	match func(error) bool
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// deniedStatus tells whether a web server refused us.
func deniedStatus(err error) bool {
	s, ok := errors.AsType[*source.StatusError](err)
	return ok && (s.Code == http.StatusUnauthorized || s.Code == http.StatusForbidden)
}

// classes are tried in order: the more telling first.
func classes() []class {
	return []class{
		{ExitConfig, "configuration", as[*flags.FileError]},
		{ExitConfig, "configuration", is(credentials.ErrSources)},
		{ExitUsage, "usage", as[*UsageError]},
		{ExitUsage, "usage", is(run.ErrNoSecret, run.ErrNoAgent, frontend.ErrOption)},
		{ExitIntegrity, "integrity", is(registry.ErrIntegrity, layer.ErrIntegrity)},
		{ExitIntegrity, "integrity", as[*source.ChecksumError]},
		{ExitUnavailable, "unavailable", is(source.ErrUnavailable)},
		{ExitDenied, "denied", func(err error) bool { return deniedStatus(err) || errors.Is(err, source.ErrDenied) }},
		{ExitNoInput, "not found", as[*source.StatusError]},
		{ExitDenied, "denied", is(registry.ErrDenied)},
		{ExitConfig, "untrusted", is(registry.ErrUntrusted)},
		{ExitUnavailable, "unavailable", is(registry.ErrUnavailable)},
		{ExitNoInput, "not found", is(registry.ErrNotFound, registry.ErrNoPlatform, build.ErrNoContext)},
		{ExitCantCreate, "no space", is(syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EROFS)},
		{ExitDockerfile, "context", as[*buildcontext.ArchiveError]},
		{ExitConfig, "environment", as[*build.EnvironmentError]},
		{ExitDockerfile, "dockerfile", as[*frontend.Error]},
		{ExitDockerfile, "unsupported", as[*run.Unsupported]},
		{ExitNoInput, "not found", is(fs.ErrNotExist)},
		{ExitCantCreate, "permission", is(fs.ErrPermission)},
	}
}

// Exit says which code a command ends with, and the name of the error's class.
func Exit(err error) (code int, name string) {
	if err == nil {
		return 0, ""
	}
	if s, ok := errors.AsType[*Signalled](err); ok {
		if n, ok := s.Signal.(syscall.Signal); ok {
			return 128 + int(n), "signal"
		}
	}
	if e, ok := errors.AsType[*run.ExitError](err); ok {
		return e.ExitCode(), "step"
	}
	for _, c := range classes() {
		if c.match(err) {
			return c.code, c.name
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ExitTemporary, "time-out"
	}
	return ExitInternal, "internal"
}
