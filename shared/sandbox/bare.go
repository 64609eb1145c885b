package sandbox

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// bare is what the views have in common that mount nothing: the root is
// furnished for the step, and what the step leaves behind is ended one by one.
type bare struct {
	identity Identity
	oom      oomCounter
	reaper   *Reaper
	running  func(pid int) error // may be nil
}

func newBare(id Identity, reaper *Reaper) bare {
	return bare{identity: id, oom: findOOMCounter(), reaper: reaper}
}

// runIn runs p in a root that f furnishes; enter writes down how the child gets there.
func (b *bare) runIn(ctx context.Context, f *furniture, p *Process, enter func(*program)) (exit Exit, err error) {
	out, err := newStreams(p.Stdout, p.Stderr)
	if err != nil {
		return Exit{}, err
	}
	defer func() { err = errors.Join(err, out.finish()) }()
	f.copies.copied = b.identity.copied()
	defer func() { err = errors.Join(err, f.restore()) }()
	if err := f.place(p); err != nil {
		return Exit{}, err
	}
	// The thread lives as long as the child, whose death its own would be.
	return onThread(func() (Exit, error) {
		pr := &program{}
		enter(pr)
		if err := pr.finish(p, b.identity, out.stdout(), out.stderr()); err != nil {
			return Exit{}, err
		}
		w := waiter{identity: b.identity, process: p, oom: &b.oom, before: b.oom.read(), reaper: b.reaper, running: b.running}
		exit, err := w.run(ctx, pr, unix.CLONE_VM|unix.CLONE_VFORK, f.root, out)
		return exit, errors.Join(err, w.supervision.end())
	})
}
