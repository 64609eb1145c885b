package sandbox

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waiter waits for a child, and for what it leaves behind.
type waiter struct {
	pid    int
	oom    *oomCounter
	before int64
	reaper *Reaper // may be nil where the step is contained
	// contained is a child whose pid namespace ends with it, and all in it.
	contained bool
	// identity and process are those of the child.
	identity Identity
	process  *Process
	// running, if set, is told the child's pid, and 0 when all are gone.
	running func(pid int) error
	// supervision answers for the child, and for this thread from now on: it is
	// for the caller to end, when the thread has no more to do.
	supervision *supervision
}

// run makes the child in root and waits.
func (w *waiter) run(ctx context.Context, pr *program, flags uintptr, root int, out *streams) (exit Exit, err error) {
	s, err := w.identity.supervise(ctx, w.process)
	if err != nil {
		return Exit{}, err
	}
	if w.supervision = s; s != nil {
		// What the child calls may wait for the supervisor, which runs in this
		// very process: a child that holds its parent's thread would hold a
		// stop of the world, and with it the supervisor, for ever.
		flags &^= unix.CLONE_VM | unix.CLONE_VFORK
	}
	c, err := w.start(pr, flags, root)
	out.started()
	if err != nil {
		return Exit{}, err
	}
	w.pid = c.pid
	if w.running == nil {
		return w.wait(ctx)
	}
	if err := w.running(w.pid); err != nil {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(err)
		return w.wait(ctx)
	}
	exit, err = w.wait(ctx)
	return exit, errors.Join(err, w.running(0))
}

func (w *waiter) start(pr *program, flags uintptr, root int) (*child, error) {
	if w.reaper != nil {
		return w.reaper.fork(pr, flags, root)
	}
	c, err := pr.fork(flags)
	if err != nil {
		return nil, err
	}
	return c, c.started()
}

// wait returns when the child and its descendants are gone. It must be called on
// the thread that made the child, whose end would be the child's (PDEATHSIG).
func (w *waiter) wait(ctx context.Context) (Exit, error) {
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		_ = unix.Kill(w.pid, unix.SIGKILL) // it is not reaped yet: the pid is its own
	})
	err := w.ended()
	if !stop() {
		<-killed
	}
	if err != nil {
		return Exit{}, err
	}
	var (
		status unix.WaitStatus
		usage  unix.Rusage
	)
	reap := func() error {
		if _, err := retry(func() (int, error) { return unix.Wait4(w.pid, &status, 0, &usage) }); err != nil {
			return fmt.Errorf("wait for process %d: %w", w.pid, err)
		}
		return nil
	}
	if !w.contained {
		// The child is still a zombie while the others end: its pid is no other's.
		err = w.reaper.end(w.pid)
	}
	if w.reaper != nil {
		err = errors.Join(err, w.reaper.reap(w.pid, reap))
	} else {
		err = errors.Join(err, reap())
	}
	if err != nil {
		return Exit{}, err
	}
	return w.exit(status, &usage), context.Cause(ctx)
}

// ended waits until the child has ended, without reaping it.
func (w *waiter) ended() error {
	_, err := retry(func() (int, error) {
		return 0, unix.Waitid(unix.P_PID, w.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", w.pid, err)
	}
	return nil
}

func (w *waiter) exit(status unix.WaitStatus, usage *unix.Rusage) Exit {
	e := Exit{
		Code:   status.ExitStatus(),
		User:   time.Duration(usage.Utime.Nano()),
		System: time.Duration(usage.Stime.Nano()),
		MaxRSS: int64(usage.Maxrss) << 10,
	}
	if status.Signaled() {
		e.Signal = syscall.Signal(status.Signal())
		e.Code = 128 + int(e.Signal)
	}
	// A shell says 137 for a child of its own that was killed.
	e.OOMKilled = e.Code == 128+int(syscall.SIGKILL) && w.oom.read() > w.before
	return e
}
