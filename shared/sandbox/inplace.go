package sandbox

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/fakeroot"
)

// InPlace is the view for where no other root can be had: the step runs in the
// builder's own root, into which the stage was put. It wants no right at all, and
// a root that may be replaced (package disposable). A step sees the builder's
// /proc, /dev, host name and network, and read-only mounts that it can write.
// One step runs at a time.
type InPlace struct {
	bare
	InPlaceOptions
}

// InPlaceOptions says what a step in place meets.
type InPlaceOptions struct {
	// Dir is where stages are put: the root, or a directory into which links in
	// the root lead; Links are their names then. Only an emulated identity
	// hides that they are links.
	Dir   string
	Links []string
	// Spare is a directory on the root's own filesystem that is not part of the
	// stage.
	Spare string
	// Mounted lists, as absolute paths, what is mounted in the root.
	Mounted func() ([]string, error)
	// Running is told the pid of each step, and 0 when it is gone.
	Running func(pid int) error
}

// NewInPlace makes the view; the reaper ends what a step leaves behind.
func NewInPlace(id Identity, reaper *Reaper, o InPlaceOptions) *InPlace {
	if e, ok := id.(*emulated); ok && o.Links != nil {
		id = &emulated{record: e.record, links: &fakeroot.Links{Dir: o.Dir, Names: o.Links}}
	}
	i := &InPlace{bare: newBare(id, reaper), InPlaceOptions: o}
	i.running = o.Running
	return i
}

// View tells what the sandbox needs and what it can keep.
func (i *InPlace) View() View {
	return View{Name: "inplace", Emulated: i.identity.emulated(), Mounted: i.Mounted}
}

// Run runs p in "/"; r.Dir must be where stages are put. Sources of mounts are moved to their
// places and back; one that p removed is gone, but for directories, which are
// made anew.
func (i *InPlace) Run(ctx context.Context, r Root, p Process) (Exit, error) {
	if err := errors.Join(p.validate(), i.supports(&r, &p), context.Cause(ctx)); err != nil {
		return Exit{}, err
	}
	f := &furniture{dir: i.Dir, spare: i.Spare, noDev: true}
	return i.runIn(ctx, f, &p, func(pr *program) {
		pr.add("change to the root", unix.SYS_CHDIR, pr.str("/"))
	})
}

func (i *InPlace) supports(r *Root, p *Process) error {
	switch {
	case i.reaper == nil:
		return errors.New("a step in place wants a reaper for what its processes leave behind")
	case r.Dir != i.Dir:
		return fmt.Errorf("a root at %q in place: %w", r.Dir, ErrUnsupported)
	case p.Network == None:
		return fmt.Errorf("RUN --network=none in place: %w (give the builder CAP_SYS_ADMIN or a user namespace, for --isolation=overlay)", ErrUnsupported)
	}
	for _, m := range p.Mounts {
		if m.Overlay != nil {
			return fmt.Errorf("an overlay on %s in place: %w (a directory is wanted)", m.Target, ErrUnsupported)
		}
	}
	return nil
}
