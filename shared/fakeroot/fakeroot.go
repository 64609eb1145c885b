package fakeroot

import (
	"errors"
	"fmt"
)

// Identity is who a step's first process is.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
}

// Stats tells what a supervisor had to do.
type Stats struct {
	Calls  int64            // system calls that were handed over
	Passed int64            // those of them that the kernel carried out after all
	ByName map[string]int64 // calls by kind
}

// ErrUnsupported is matched by the errors of Install and Supported where the kernel, a seccomp profile or the
// architecture does not let calls be answered.
var ErrUnsupported = errors.New("emulated identity is not supported here")

// ForeignError is returned by Serve when a process made system calls of an ABI that cannot be emulated. It was ended
// by SIGSYS.
type ForeignError struct {
	PID  int
	Name string // of the program
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("process %d (%s) is a program for another processor mode (32-bit), which the emulated identity does not know: use programs built for this machine, or another isolation", e.PID, e.Name)
}
