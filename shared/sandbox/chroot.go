package sandbox

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Chroot is the view for where nothing may be mounted: it wants CAP_SYS_CHROOT
// and CAP_MKNOD, which root has in a default container. A step has no /proc, the
// builder's host name and network, and read-only mounts that it can write. It is
// no boundary: root with CAP_SYS_CHROOT, which package managers need, gets out.
// The directory above Root.Dir must be writable and on the same filesystem: what
// mounts hide is kept there meanwhile.
type Chroot struct {
	identity identity
	oom      oomCounter
	reaper   *Reaper
}

// NewChroot makes the view; the reaper ends what a step leaves behind.
func NewChroot(reaper *Reaper) *Chroot {
	return &Chroot{identity: real{}, oom: findOOMCounter(), reaper: reaper}
}

// View tells what the sandbox needs and what it can keep.
func (c *Chroot) View() View { return View{Name: "chroot"} }

// Run runs p in the directory r.Dir, which two runs must not share at a time.
// Sources of mounts are moved there and back; one that p removed is gone, but
// for directories, which are made anew.
func (c *Chroot) Run(ctx context.Context, r Root, p Process) (Exit, error) {
	if err := errors.Join(p.validate(), c.supports(&r, &p), context.Cause(ctx)); err != nil {
		return Exit{}, err
	}
	return c.run(ctx, &r, &p)
}

func (c *Chroot) supports(r *Root, p *Process) error {
	switch {
	case c.reaper == nil:
		return errors.New("a chroot wants a reaper for what its processes leave behind")
	case r.Dir == "":
		return fmt.Errorf("a root of layers in a chroot: %w (a directory is wanted)", ErrUnsupported)
	case p.Network == None:
		return fmt.Errorf("RUN --network=none in a chroot: %w (give the builder CAP_SYS_ADMIN or a user namespace, for --isolation=overlay)", ErrUnsupported)
	}
	for _, m := range p.Mounts {
		if m.Overlay != nil {
			return fmt.Errorf("an overlay on %s in a chroot: %w (a directory is wanted)", m.Target, ErrUnsupported)
		}
	}
	return absolute(r.Dir)
}

func (c *Chroot) run(ctx context.Context, r *Root, p *Process) (exit Exit, err error) {
	out, err := newStreams(p.Stdout, p.Stderr)
	if err != nil {
		return Exit{}, err
	}
	defer func() { err = errors.Join(err, out.finish()) }()
	f := &furniture{dir: r.Dir}
	defer func() { err = errors.Join(err, f.restore()) }()
	if err := f.place(p); err != nil {
		return Exit{}, err
	}
	// The thread lives as long as the child, whose death its own would be.
	return onThread(func() (Exit, error) {
		pr := &program{}
		pr.add("change to the new root", unix.SYS_FCHDIR, uintptr(f.root))
		pr.add("change root", unix.SYS_CHROOT, pr.str("."))
		if err := pr.finish(p, c.identity, out.stdout(), out.stderr()); err != nil {
			return Exit{}, err
		}
		w := waiter{oom: &c.oom, before: c.oom.read(), reaper: c.reaper}
		return w.run(ctx, pr, unix.CLONE_VM|unix.CLONE_VFORK, f.root, out)
	})
}
