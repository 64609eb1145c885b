package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Overlay is the view that mounts: it wants CAP_SYS_ADMIN, of the machine or of
// a user namespace (EnterUserNamespace).
type Overlay struct {
	identity Identity
	masks    masks
	oom      oomCounter
	reaper   *Reaper
	mode     atomic.Uint32 // modeHostPIDs, modeMove: what was found to be refused
	options  atomic.Int32  // the first of overlayOptions that was taken
}

const (
	modeHostPIDs = 1 << iota // no fresh /proc, hence no pid namespace
	modeMove                 // no pivot_root
)

// NewOverlay makes the view. What the kernel or a seccomp profile refuses is
// found out by the first runs, and remembered. The reaper is the process', if it
// has one; without one the view does not work where a fresh /proc is refused.
func NewOverlay(reaper *Reaper) *Overlay {
	return &Overlay{identity: real{}, masks: findMasks(), oom: findOOMCounter(), reaper: reaper}
}

// View tells what the sandbox needs and what it can keep.
func (o *Overlay) View() View {
	return View{Name: "overlay", Emulated: o.identity.emulated(), Layered: true, ReadOnly: true, NetworkNone: true, MountPoints: o.MountPoints()}
}

// MountPoints are the directories that the root must have. A caller whose layers
// lack one puts a layer that has it on top of them.
func (o *Overlay) MountPoints() []MountPoint {
	return []MountPoint{{"/dev", 0o755}, {"/proc", 0o555}, {"/sys", 0o555}}
}

// Run runs p in r. Of the mounts nothing is left afterwards; what p changed is
// in r.Upper, or r.Dir.
func (o *Overlay) Run(ctx context.Context, r Root, p Process) (Exit, error) {
	if err := errors.Join(p.validate(), r.validate()); err != nil {
		return Exit{}, err
	}
	return o.run(ctx, &r, &p, nil)
}

// run tries again with another mode for as long as it learns something. inspect
// looks at the root before the process starts.
func (o *Overlay) run(ctx context.Context, r *Root, p *Process, inspect func(root int) error) (Exit, error) {
	if r.Dir == "" && r.Upper == "" {
		return Exit{}, errors.New("run a process: its root has layers but no upper directory")
	}
	for {
		mode := o.mode.Load()
		exit, err := o.attempt(ctx, r, p, mode, inspect)
		refused, ok := errors.AsType[*callError](err)
		switch {
		case ok && refused.stage == stageProc && mode&modeHostPIDs == 0 && o.reaper != nil:
			o.mode.Or(modeHostPIDs)
		case ok && refused.stage == stagePivot && mode&modeMove == 0:
			o.mode.Or(modeMove)
		default:
			return exit, err
		}
	}
}

func (o *Overlay) attempt(ctx context.Context, r *Root, p *Process, mode uint32, inspect func(root int) error) (Exit, error) {
	if err := context.Cause(ctx); err != nil {
		return Exit{}, err
	}
	out, err := newStreams(p.Stdout, p.Stderr)
	if err != nil {
		return Exit{}, err
	}
	exit, err := onThread(func() (exit Exit, err error) {
		s := step{Overlay: o, root: -1, mode: mode}
		defer func() { err = errors.Join(err, s.supervision.end()) }()
		ns, err := enterNamespaces(p.Network, p.Hostname)
		if err != nil {
			return Exit{}, err
		}
		defer func() { err = errors.Join(err, ns.leave()) }()
		defer s.close()
		if err := s.build(r, p); err != nil {
			return Exit{}, err
		}
		if inspect != nil {
			if err := inspect(s.root); err != nil {
				return Exit{}, err
			}
		}
		return s.run(ctx, p, out)
	})
	return exit, errors.Join(err, out.finish())
}

// step is one process' root while its thread builds it.
type step struct {
	*Overlay
	holder
	root int // the new root, held open
	dev  int
	mode uint32
	// supervision is what waiter has of it.
	supervision *supervision
}

// build mounts everything but a fresh /proc.
func (s *step) build(r *Root, p *Process) (err error) {
	if err := s.mountRoot(r); err != nil {
		return err
	}
	if err := s.mountDev(); err != nil {
		return err
	}
	if s.mode&modeHostPIDs != 0 {
		// Only all of it: a part of a masked /proc is refused (EPERM).
		if err := s.bindHost("/proc"); err != nil {
			return err
		}
	} else if err := s.checkProc(); err != nil {
		return err
	}
	if err := s.mountSys(); err != nil {
		return err
	}
	for i := range p.Mounts {
		if err := s.mount(&p.Mounts[i], i); err != nil {
			return fmt.Errorf("mount on %s: %w", p.Mounts[i].Target, err)
		}
	}
	if p.MakeCwd {
		if err := makePoint(s.root, p.Cwd, true); err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
	}
	if err := unix.Fchdir(s.root); err != nil {
		return fmt.Errorf("change to the new root: %w", err)
	}
	return nil
}

// checkProc looks at where the child, which only knows a path, will mount /proc.
func (s *step) checkProc() error {
	fd, err := s.keep(openIn(s.root, "/proc", unix.RESOLVE_NO_SYMLINKS))
	if err == nil && !isDir(fd) {
		err = fmt.Errorf("mount /proc: %w", unix.ENOTDIR)
	}
	return err
}

// mountRoot makes the root a mount. An overlay is mounted over its own work
// directory, so that no other directory is wanted; only this thread sees it.
func (s *step) mountRoot(r *Root) error {
	place := r.Work
	if r.Dir != "" {
		place = r.Dir
	}
	below, err := s.keep(openPath(place, unix.O_DIRECTORY))
	if err != nil {
		return err
	}
	if r.Dir != "" {
		err = mountOn(r.Dir, fdPath(below), below, "", unix.MS_BIND, "")
	} else {
		var taken int
		taken, err = mountOverlay(r, below, int(s.options.Load()))
		s.options.Store(int32(taken))
	}
	if err != nil {
		return err
	}
	if s.root, err = s.keep(openPath(place, unix.O_DIRECTORY)); err != nil {
		return err
	}
	if r.Dir != "" {
		// A device node that the step makes must open nothing.
		return restrict(r.Dir, s.root, unix.MS_NODEV)
	}
	return nil
}

// run makes the child and waits for all of it.
func (s *step) run(ctx context.Context, p *Process, out *streams) (Exit, error) {
	pr := &program{}
	flags := uintptr(unix.CLONE_VM | unix.CLONE_VFORK)
	if s.mode&modeHostPIDs == 0 {
		flags |= unix.CLONE_NEWPID
		pr.mount("proc", "proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "").stage = stageProc
	}
	s.masks.hideProc(pr)
	s.changeRoot(pr)
	if err := pr.finish(p, s.identity, out.stdout(), out.stderr()); err != nil {
		return Exit{}, err
	}
	w := waiter{
		identity: s.identity, process: p, oom: &s.oom, before: s.oom.read(),
		reaper: s.reaper, contained: flags&unix.CLONE_NEWPID != 0,
	}
	exit, err := w.run(ctx, pr, flags, s.root, out)
	s.supervision = w.supervision
	return exit, err
}

// changeRoot makes the child's directory its root.
func (s *step) changeRoot(pr *program) {
	dot := pr.str(".")
	slash := pr.str("/")
	if s.mode&modeMove != 0 {
		// pivot_root(2) is refused by Docker's and containerd's seccomp profiles.
		pr.mount(".", "/", "", unix.MS_MOVE, "")
		pr.add("change root", unix.SYS_CHROOT, dot)
	} else {
		pr.add("pivot root", unix.SYS_PIVOT_ROOT, dot, dot).stage = stagePivot
		pr.add("detach the old root", unix.SYS_UMOUNT2, dot, unix.MNT_DETACH)
	}
	pr.add("change to the new root", unix.SYS_CHDIR, slash)
}
