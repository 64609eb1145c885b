package sandbox

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/fakeroot"
)

// Emulated is the identity for where the kernel lets the builder be one user
// only: a supervisor shows processes the ids and rights that they would have,
// and r records what the disk cannot say of the files that they make.
func Emulated(r *fakeroot.Record) Identity { return &emulated{record: r} }

type emulated struct {
	record *fakeroot.Record
	links  *fakeroot.Links // in the root, to be hidden
}

func (*emulated) emulated() bool { return true }

// copied carries over what is recorded of a file to its copy.
func (e *emulated) copied() func(from, to *unix.Statx_t) {
	return func(from, to *unix.Statx_t) {
		if a, ok := e.record.Get(fakeroot.IDOf(from)); ok {
			e.record.Put(fakeroot.IDOf(to), a)
		}
	}
}

// become changes no ids, since there are no others. In a user namespace root has
// all capabilities: steps keep Docker's, which let an emulated user read as much
// as they let root, but nothing of the builder.
func (*emulated) become(pr *program, p *Process) error {
	if p.UID != 0 {
		// The supervisor answers already, and to a user it says that there is
		// nothing to give up.
		return nil
	}
	permitted, bounding, err := ownCaps()
	if err != nil {
		return err
	}
	if permitted.has(unix.CAP_SETPCAP) {
		dropBounding(pr, bounding)
	}
	if permitted != 0 {
		capset(pr, permitted&keptCaps())
	}
	return nil
}

// supervision answers for a process until it is ended.
type supervision struct {
	cancel context.CancelFunc
	done   chan error
}

// supervise filters the calling thread's calls from now on, and with them those
// of its children.
func (e *emulated) supervise(ctx context.Context, p *Process) (*supervision, error) {
	l, err := fakeroot.Install(e.links)
	if err != nil {
		return nil, fmt.Errorf("emulate root: %w", err)
	}
	s := &fakeroot.Supervisor{Record: e.record, Identity: fakeroot.Identity{UID: p.UID, GID: p.GID, Groups: p.Groups}, Links: e.links}
	// Not ended by ctx itself: until the processes are killed, they want answers.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	u := &supervision{cancel: cancel, done: make(chan error, 1)}
	go func() {
		_, err := s.Serve(ctx, l)
		u.done <- errors.Join(err, l.Close())
	}()
	return u, nil
}

// end stops answering, if there was anything to answer. All processes have
// ended; the thread, which has the filter too, makes no such calls any more.
func (s *supervision) end() error {
	if s == nil {
		return nil
	}
	s.cancel()
	if err := <-s.done; err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("emulate root: %w", err)
	}
	return nil
}
