package build

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/strake-build/strake/shared/disposable"
	"github.com/strake-build/strake/shared/environment"
	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/sandbox"
)

// Isolation says how RUN steps are isolated, and what in the builder's own root
// stays when a stage is put there.
type Isolation struct {
	// View is "auto", "overlay", "bind", "inplace" or "chroot", and Identity
	// "auto", "real" or "emulated". Empty means "auto".
	View, Identity string
	// Memory is how many bytes of memory layers may take where an overlay can
	// lie on no file system; 0 is none.
	Memory int64
	// Home is the directory of the builder's program. Where it has the mark of
	// a disposable root, steps may run in place.
	Home string
	// Keep names files and directories that stay in a disposable root: the
	// context, what the build reads and writes. Absolute paths.
	Keep []string
	// Hide names the builder's credentials, which steps in place do not see.
	Hide []string
	// Clean empties the disposable root at the end.
	Clean bool
	// Materialize leaves the image's own root filesystem in the disposable root at
	// the end, whether a step has run there or not.
	Materialize bool
}

func (i *Isolation) disposable() disposable.Options {
	return disposable.Options{Home: i.Home, Keep: i.Keep}
}

// isolation is how the steps of one build are isolated.
type isolation struct {
	Isolation
	choice *environment.Choice
	record *fakeroot.Record
	root   *disposable.Root // once a step runs in place
	guard  *disposable.Guard
}

// Probe finds out how steps can run here, for a build with dir as its directory.
func (i *Isolation) Probe(ctx context.Context, dir string, reaper *sandbox.Reaper) (*environment.Report, error) {
	report, _, err := i.probe(ctx, environment.Options{Dir: dir, Reaper: reaper})
	return report, err
}

func (i *Isolation) probe(ctx context.Context, o environment.Options) (*environment.Report, *isolation, error) {
	s := &isolation{Isolation: *i, record: fakeroot.NewRecord()}
	o.Record, o.Memory = s.record, i.Memory
	root, err := disposable.Find(i.disposable())
	if err == nil {
		o.InPlace = &sandbox.InPlaceOptions{Dir: root.Dir(), Links: root.Links(), Spare: i.Home, Mounted: s.mounted, Running: s.running}
	}
	o.Foreign = err
	report, err := environment.Probe(ctx, o)
	return report, s, err
}

// mounted lists what is mounted in the disposable root, and what stays there.
func (s *isolation) mounted() ([]string, error) {
	if s.root == nil {
		return nil, nil
	}
	places, err := s.root.Places()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range append(places.Mounts(), places.Keeps()...) {
		list = append(list, path.Join("/", name))
	}
	return list, nil
}

func (s *isolation) running(pid int) error {
	if s.root == nil { // trying whether it works
		return nil
	}
	return s.root.Running(pid)
}

// choose tries out what works here.
func (e *engine) choose(ctx context.Context) (*isolation, error) {
	view, identity := orAuto(e.req.Isolation.View), orAuto(e.req.Isolation.Identity)
	report, s, err := e.req.Isolation.probe(ctx, environment.Options{Dir: e.workspace.Path(), Reaper: e.b.Reaper, View: view, Identity: identity})
	if err != nil {
		return nil, err
	}
	for _, f := range report.Findings {
		logger(ctx).Debug().Str("what", f.Name).AnErr("refused", f.Err).Msg("probed")
	}
	choice, reason, err := report.Choose(view, identity)
	if err != nil {
		return nil, err
	}
	s.choice = choice
	logger(ctx).Info().Str("because", reason).Msg("RUN steps are isolated by " + choice.String())
	return s, nil
}

func orAuto(s string) string {
	if s == "" {
		return "auto"
	}
	return s
}

// openSandbox chooses how steps run, and gets the place ready.
func (e *engine) openSandbox(ctx context.Context) error {
	s, err := e.choose(ctx)
	if err != nil {
		return &EnvironmentError{err}
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	if s.choice.Identity == environment.Emulated {
		e.workspace.UseRecord(s.record)
	}
	roots, err := e.roots(ctx, s)
	if err != nil {
		return &EnvironmentError{err}
	}
	e.worker.Runner = &run.Runner{
		SnapshotTimeout: e.req.SnapshotTimeout,
		Roots:           roots, Sandbox: s.choice.Sandbox, Workspace: e.workspace, Secrets: e.req.Secrets, SSH: e.req.SSH,
		Caches: e.caches(), Allow: e.req.Allow, Resolv: resolv,
	}
	return nil
}

// roots makes the place where trees become root filesystems.
func (e *engine) roots(ctx context.Context, s *isolation) (run.Roots, error) {
	skip := ignore(e.req.IgnorePaths)
	switch s.choice.View {
	case environment.Overlay:
		if s.choice.Memory > 0 {
			unmount, err := sandbox.MountMemory(e.workspace.Layers(), s.choice.Memory)
			if err != nil {
				return nil, err
			}
			e.closers = append(e.closers, unmount)
		}
		userXattr, err := sandbox.UserXattrs(e.workspace.Layers())
		if err != nil {
			return nil, err
		}
		e.workspace.UseOverlay(userXattr)
		return &run.OverlayRoots{Workspace: e.workspace, UserXattr: userXattr, Ignore: skip}, nil
	case environment.InPlace:
		if err := s.open(ctx, e.req.Dir); err != nil {
			return nil, err
		}
		e.closers = append(e.closers, s.close)
		return run.NewInPlaceRoots(e.workspace, s.root, s.guard, skip), nil
	default:
		return &run.DirRoots{Workspace: e.workspace, Ignore: skip}, nil
	}
}

// open takes the disposable root for this build.
func (s *isolation) open(ctx context.Context, dir string) (err error) {
	// The system's authorities are read once, when they are first needed: not from
	// a stage.
	_, _ = x509.SystemCertPool() // who needs them will say that there are none
	o := s.disposable()
	o.Keep = append([]string{dir}, o.Keep...)
	s.root, err = disposable.Open(ctx, o, func() {
		logger(ctx).Info().Msg("another build runs in place in this container; waiting for it to end")
	})
	if err != nil {
		return err
	}
	if s.guard, err = s.root.Guard(s.Hide...); err != nil {
		return errors.Join(err, s.root.Close())
	}
	return nil
}

func (s *isolation) close() error {
	var err error
	if s.Clean {
		err = s.root.Empty()
	}
	return errors.Join(err, s.guard.Close(), s.root.Close())
}
