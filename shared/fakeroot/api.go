package fakeroot

import (
	"context"
	"errors"
)

// Identity is who a step's first process is.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
}

// Listener is where a filter's calls arrive.
type Listener struct{ fd int }

// Install puts the filter on the calling thread.
func Install() (*Listener, error) { return nil, errors.ErrUnsupported }

// Close closes the listener.
func (l *Listener) Close() error { return nil }

// Stats counts.
type Stats struct{ Calls int64 }

// Supervisor answers the calls of one step.
type Supervisor struct {
	Record   *Record
	Identity Identity
}

// Serve answers until no process with the filter is left.
func (s *Supervisor) Serve(ctx context.Context, l *Listener) (Stats, error) {
	return Stats{}, errors.ErrUnsupported
}

// Supported tries the emulation here.
func Supported() error { return errors.ErrUnsupported }
