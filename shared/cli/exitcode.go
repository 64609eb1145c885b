// Package cli is what the commands have in common: exit codes, signals, progress and flag groups.
package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/credentials"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/warmed"
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

// Class is a group of errors with its exit code and its name in logs.
type Class struct {
	Code  int
	Name  string
	Match func(error) bool
}

// Classes are those that only some commands know. All are tried in order, the
// more telling first: the Early ones after mistakes of the user, the Late ones
// before what the file system says.
type Classes struct{ Early, Late []Class }

// Is makes a Match of errors.Is.
func Is(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
}

// As is a Match by an error's type.
func As[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func mistakes() []Class {
	return []Class{
		{ExitConfig, "configuration", As[*flags.FileError]},
		{ExitConfig, "configuration", Is(credentials.ErrSources)},
		{ExitUsage, "usage", As[*UsageError]},
		{ExitIntegrity, "integrity", Is(registry.ErrIntegrity, layer.ErrIntegrity, store.ErrIntegrity)},
	}
}

func registries() []Class {
	return []Class{
		{ExitDenied, "denied", Is(registry.ErrDenied)},
		{ExitDenied, "lock", As[*warmed.DriftError]},
		{ExitConfig, "untrusted", Is(registry.ErrUntrusted)},
		{ExitUnavailable, "unavailable", Is(registry.ErrUnavailable)},
		{ExitNoInput, "not found", Is(registry.ErrNotFound, registry.ErrNoPlatform)},
		{ExitCantCreate, "no space", Is(syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EROFS)},
	}
}

func files() []Class {
	return []Class{
		{ExitNoInput, "not found", Is(fs.ErrNotExist)},
		{ExitConfig, "configuration", Is(store.ErrNotStore)},
		{ExitCantCreate, "permission", Is(fs.ErrPermission)},
	}
}

// Exit says which code a command ends with, and the name of the error's class.
func Exit(err error, own Classes) (code int, name string) {
	if err == nil {
		return 0, ""
	}
	if s, ok := errors.AsType[*Signalled](err); ok {
		if n, ok := s.Signal.(syscall.Signal); ok {
			return 128 + int(n), "signal"
		}
	}
	for _, c := range slices.Concat(mistakes(), own.Early, registries(), own.Late, files()) {
		if c.Match(err) {
			return c.Code, c.Name
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ExitTemporary, "time-out"
	}
	return ExitInternal, "internal"
}
