package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Report is what Probe found.
type Report struct {
	// Rows are all that was tried, for a person to read.
	Rows []Finding
	// UIDs is how many user ids there are to be had in this user namespace: 1
	// means that a step can be root and nobody else.
	UIDs int64

	overlay *Overlay
	chroot  *Chroot
}

// Finding is one thing that was tried.
type Finding struct {
	Name string
	// Err is nil where it works, and otherwise why it does not.
	Err error
}

// Probe tries what the sandboxes need, in children and threads of its own, on
// files below stateDir that it removes again. It trusts no version numbers:
// seccomp profiles, AppArmor and filesystems have the last word.
func Probe(ctx context.Context, stateDir string, reaper *Reaper) (Report, error) {
	dir, err := os.MkdirTemp(stateDir, "probe-*")
	if err != nil {
		return Report{}, fmt.Errorf("probe the sandbox: %w", err)
	}
	p := prober{dir: dir, report: Report{overlay: NewOverlay(reaper), chroot: NewChroot(reaper)}}
	p.report.UIDs, _, err = MappedIDs()
	p.find("user ids", err)
	p.find("overlay", p.overlay(ctx))
	p.modes()
	p.find("chroot", p.inChroot(ctx))
	p.find("user namespace", tryUserNamespace())
	return p.report, os.RemoveAll(dir)
}

type prober struct {
	dir    string
	report Report
}

func (p *prober) find(name string, err error) {
	p.report.Rows = append(p.report.Rows, Finding{name, err})
}

// overlay runs a step that executes nothing in an overlay, and makes the changes
// that fail in a user namespace where the overlay's marks are refused.
func (p *prober) overlay(ctx context.Context) error {
	r := Root{Lower: []string{filepath.Join(p.dir, "lower")}, Upper: filepath.Join(p.dir, "upper"), Work: filepath.Join(p.dir, "work")}
	var dirs []string
	for _, m := range p.report.overlay.MountPoints() {
		dirs = append(dirs, filepath.Join(r.Lower[0], m.Path))
	}
	for _, d := range append(dirs, r.Upper, r.Work, filepath.Join(r.Lower[0], "full", "of")) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	_, err := p.report.overlay.run(ctx, &r, &Process{Hostname: "probe"}, func(root int) error {
		err := unix.Unlinkat(root, "full/of", unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOENT) { // done by an attempt in another mode
			err = nil
		}
		return errors.Join(
			err,
			unix.Unlinkat(root, "full", unix.AT_REMOVEDIR), // a whiteout
			unix.Mkdirat(root, "full", 0o755))              // an opaque directory
	})
	return err
}

// modes tells how the overlay came about.
func (p *prober) modes() {
	mode := p.report.overlay.mode.Load()
	refused := func(bit uint32, consequence string) error {
		if mode&bit != 0 {
			return errors.New(consequence)
		}
		return nil
	}
	if p.report.Rows[len(p.report.Rows)-1].Err != nil {
		return
	}
	p.find("fresh /proc", refused(modeHostPIDs, "refused: a step sees the builder's /proc and processes (an unmasked /proc gives a better one: procMount, systempaths=unconfined)"))
	p.find("pivot_root", refused(modeMove, "refused: the root is moved and entered instead"))
}

// inChroot runs a step that executes nothing, with its device nodes.
func (p *prober) inChroot(ctx context.Context) error {
	root := filepath.Join(p.dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if p.report.chroot.reaper == nil {
		return errors.New("no reaper")
	}
	_, err := p.report.chroot.run(ctx, &Root{Dir: root}, &Process{})
	return err
}

// Choose picks a sandbox: "overlay", "chroot", or with "auto" the best that
// works. reason is for the user.
func Choose(r Report, wanted string) (s Sandbox, reason string, err error) {
	views := []struct {
		name string
		Sandbox
	}{{"overlay", r.overlay}, {"chroot", r.chroot}}
	var why []string
	for _, v := range views {
		if wanted != "auto" && wanted != v.name {
			continue
		}
		err := r.of(v.name)
		if err == nil {
			return v.Sandbox, strings.Join(append(why, v.name+" works here"), "; "), nil
		}
		why = append(why, fmt.Sprintf("%s: %v", v.name, err))
	}
	if len(why) == 0 {
		return nil, "", fmt.Errorf("isolation %q: there are auto, overlay and chroot", wanted)
	}
	return nil, "", fmt.Errorf("isolation %q: %w: %s", wanted, ErrUnsupported, strings.Join(why, "; "))
}

func (r *Report) of(name string) error {
	for _, f := range r.Rows {
		if f.Name == name {
			return f.Err
		}
	}
	return errors.New("not tried")
}

// String is the table, a line per finding.
func (r Report) String() string {
	var b strings.Builder
	for _, f := range r.Rows {
		verdict := "ok"
		if f.Err != nil {
			verdict = f.Err.Error()
		}
		fmt.Fprintf(&b, "%-16s %s\n", f.Name, strings.ReplaceAll(verdict, "\n", "; "))
	}
	return b.String()
}
