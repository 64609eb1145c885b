// Package environment finds out what the container around the builder allows, and chooses how RUN steps are isolated in it.
//
// Two things are chosen, independently: the view, which gives a step its root
// filesystem (overlay, bind, inplace, chroot), and the identity, which says who
// it is (real, emulated). Both are tried in children; nothing is concluded from
// versions or flags.
package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/sandbox"
)

// Options are what is there to choose from.
type Options struct {
	// Dir is a directory of the builder's, where layers would be kept.
	Dir    string
	Reaper *sandbox.Reaper
	// Record takes what an emulated identity cannot say on the disk.
	Record *fakeroot.Record
	// Memory, if not 0, is how many bytes of memory layers may take, where no
	// file system of the builder's takes an overlay.
	Memory int64
	// InPlace, where set, is for a root that may be replaced; where it is not,
	// Foreign says why.
	InPlace *sandbox.InPlaceOptions
	Foreign error
	// View and Identity, where set, are what is going to be chosen: nothing more
	// is tried once the first choice that they allow works.
	View, Identity string
}

// Finding is one thing that was tried.
type Finding struct {
	Name string
	// Err is nil where it works, and otherwise why it does not.
	Err error
	// Note says more of what works.
	Note string
}

// Report is what was found, and what can be chosen.
type Report struct {
	Findings []Finding
	// Choices are all ways of running steps that were tried, the best first.
	Choices []Choice
	// UID is the builder's user, in its user namespace, and UIDs how many ids
	// there are in that.
	UID  int
	UIDs int64
	// Inside tells that the builder has entered a user namespace of its own.
	Inside bool
}

// Choice is a view and an identity.
type Choice struct {
	View, Identity string
	// Err is nil where steps can run so, and otherwise why they cannot.
	Err     error
	Sandbox sandbox.Sandbox
	// Memory, if not 0, says that layers are kept in memory, and how many bytes.
	Memory int64
}

// The names of views and identities, as the user chooses them.
const (
	Overlay  = "overlay"
	Bind     = "bind"
	InPlace  = "inplace"
	Chroot   = "chroot"
	Real     = "real"
	Emulated = "emulated"
)

// Probe tries what steps need, on files below o.Dir that it removes again.
func Probe(ctx context.Context, o Options) (*Report, error) {
	dir, err := os.MkdirTemp(o.Dir, "probe-*")
	if err != nil {
		return nil, fmt.Errorf("probe what is possible here: %w", err)
	}
	p := &prober{Options: o, dir: dir, report: &Report{UID: os.Geteuid()}}
	p.ids()
	for _, try := range []func(context.Context){p.overlay, p.bind, p.inPlace, p.chroot} {
		try(ctx)
		if p.enough() {
			break
		}
	}
	return p.report, os.RemoveAll(dir)
}

// enough tells whether the choice can be made from what was tried so far.
func (p *prober) enough() bool {
	if p.View == "" || p.Identity == "" {
		return false
	}
	_, _, err := p.report.Choose(p.View, p.Identity)
	return err == nil
}

type prober struct {
	Options
	dir            string
	report         *Report
	real, emulated error
}

func (p *prober) find(name string, err error, note string) {
	p.report.Findings = append(p.report.Findings, Finding{name, err, note})
}

func (p *prober) offer(view, identity string, s sandbox.Sandbox, err error) {
	p.report.Choices = append(p.report.Choices, Choice{View: view, Identity: identity, Err: err, Sandbox: s})
}

func (p *prober) ids() {
	uids, gids, err := sandbox.MappedIDs()
	p.report.UIDs = min(uids, gids)
	p.find("user ids", err, fmt.Sprintf("the builder is user %d; the user namespace has %d", p.report.UID, p.report.UIDs))
	p.real = sandbox.TryReal(p.dir)
	p.find("real identity", p.real, "files can be given away, steps can be any user")
	p.emulated = fakeroot.Supported()
	p.find("emulated identity", p.emulated, "a seccomp filter answers for what the kernel refuses")
	p.find("user namespace", sandbox.TryUserNamespace(), "")
}

// overlay wants real ids: with emulated ones a copy-up would make another file of
// one about which something is recorded.
func (p *prober) overlay(ctx context.Context) {
	o := sandbox.NewOverlay(p.Reaper)
	err := o.Try(ctx, p.dir)
	p.find(Overlay, err, "below "+p.Dir)
	memory := int64(0)
	if err != nil && p.Memory > 0 {
		memory = p.Memory
		err = p.overlayInMemory(ctx, o)
		p.find("overlay in memory", err, fmt.Sprintf("%d bytes at most", memory))
	}
	if err == nil {
		p.mounted(o)
	}
	if err == nil && p.real != nil {
		err = fmt.Errorf("ids are emulated, which overlayfs does not keep: %w", p.real)
	}
	p.report.Choices = append(p.report.Choices, Choice{View: Overlay, Identity: Real, Err: err, Sandbox: o, Memory: memory})
}

func (p *prober) overlayInMemory(ctx context.Context, o *sandbox.Overlay) error {
	dir := filepath.Join(p.dir, "memory")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	unmount, err := sandbox.MountMemory(dir, p.Memory)
	if err != nil {
		return err
	}
	return errors.Join(o.Try(ctx, dir), unmount())
}

// mounted tells how the mounts came about.
func (p *prober) mounted(b interface {
	FreshProc() bool
	Pivots() bool
},
) {
	refused := func(ok bool, consequence string) error {
		if ok {
			return nil
		}
		return errors.New("refused: " + consequence)
	}
	p.find("fresh /proc", refused(b.FreshProc(), "a step sees the builder's /proc and processes"), "")
	p.find("pivot_root", refused(b.Pivots(), "the root is moved and entered instead"), "")
}

func (p *prober) bind(ctx context.Context) {
	for _, i := range p.identities() {
		b := sandbox.NewBind(i.as, p.Reaper)
		err := i.err
		if err == nil {
			err = b.Try(ctx, p.dir)
		}
		if i.err == nil {
			p.find(Bind+" ("+i.name+")", err, "")
		}
		p.offer(Bind, i.name, b, err)
	}
}

type named struct {
	name string
	as   sandbox.Identity
	err  error
}

func (p *prober) identities() []named {
	return []named{{Real, sandbox.Real(), p.real}, {Emulated, sandbox.Emulated(p.Record), p.emulated}}
}

func (p *prober) inPlace(ctx context.Context) {
	if p.InPlace == nil {
		p.find("disposable root", p.Foreign, "")
		p.offer(InPlace, Real, nil, p.Foreign)
		return
	}
	p.find("disposable root", nil, "the official image's")
	for _, i := range p.identities() {
		s := sandbox.NewInPlace(i.as, p.Reaper, *p.InPlace)
		err := i.err
		if err == nil {
			err = s.Try(ctx)
			p.find(InPlace+" ("+i.name+")", err, "")
		}
		p.offer(InPlace, i.name, s, err)
	}
}

func (p *prober) chroot(ctx context.Context) {
	c := sandbox.NewChroot(p.Reaper)
	err := p.real
	if err == nil {
		err = c.Try(ctx, p.dir)
		p.find(Chroot, err, "")
	}
	p.offer(Chroot, Real, c, err)
}
