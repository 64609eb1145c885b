package main

import (
	"errors"
	"io/fs"

	"github.com/strake-build/strake/manifest/internal/cosign"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/index"
	"github.com/strake-build/strake/shared/merge"
	"github.com/strake-build/strake/shared/registry"
)

// exitCheck is the code of a check that images did not pass (EX_DATAERR).
const exitCheck = 65

// exit says which code the command ends with, and the name of the error's
// class: those of all commands, and a few that only merging knows.
func exit(err error) (code int, class string) {
	_, check := errors.AsType[*index.CheckError](err)
	_, input := errors.AsType[*merge.InputError](err)
	_, key := errors.AsType[*keyError](err)
	switch {
	case errors.Is(err, merge.ErrUnsigned):
		return shared.ExitDenied, "unsigned"
	case cosign.ExitCode(err) != 0:
		return cosign.ExitCode(err), "signature"
	case errors.Is(err, fs.ErrNotExist):
	case key:
		return shared.ExitConfig, "key"
	case input:
		return exitCheck, "input"
	case errors.Is(err, registry.ErrUnsupported):
		return exitCheck, "unsupported"
	case errors.Is(err, registry.ErrImmutable):
		return shared.ExitDenied, "immutable"
	case check, errors.Is(err, merge.ErrTagMoved):
		return exitCheck, "check"
	}
	return shared.Exit(err, shared.Classes{})
}
