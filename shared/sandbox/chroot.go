package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Chroot is the view for where nothing may be mounted: it wants CAP_SYS_CHROOT
// and CAP_MKNOD, which root has in a default container. A step has no /proc, the
// builder's host name and network, and read-only mounts that it can write. It is
// no boundary: root with CAP_SYS_CHROOT, which package managers need, gets out.
// The directory above Root.Dir must be writable and on the same filesystem: what
// mounts hide is kept there meanwhile.
type Chroot struct{ bare }

// NewChroot makes the view; the reaper ends what a step leaves behind.
func NewChroot(reaper *Reaper) *Chroot { return &Chroot{newBare(real{}, reaper)} }

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
	f := &furniture{dir: r.Dir, spare: filepath.Dir(r.Dir)}
	return c.runIn(ctx, f, p, func(pr *program) {
		pr.add("change to the new root", unix.SYS_FCHDIR, uintptr(f.root))
		pr.add("change root", unix.SYS_CHROOT, pr.str("."))
	})
}
