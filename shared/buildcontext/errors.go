package buildcontext

import (
	"errors"
	"fmt"
	"io/fs"
)

// ArchiveError is a context that came whole but is no archive as it should be:
// malformed, or larger than the limits.
type ArchiveError struct {
	Name string // without secrets
	Err  error
}

func (e *ArchiveError) Error() string { return fmt.Sprintf("context %s: %v", e.Name, e.Err) }
func (e *ArchiveError) Unwrap() error { return e.Err }

// errNoFolder is about --context-sub-path; fs.ErrNotExist is in its chain.
var errNoFolder = fmt.Errorf("there is no such folder in it: %w", fs.ErrNotExist)

var (
	errEmpty  = errors.New("it is empty: no archive came")
	errCutOff = errors.New("it ends without the end mark of an archive: it was cut off, or whoever wrote it did not close it")
)
