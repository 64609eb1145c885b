package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The views and identities are tried by doing what a step does, in a child that
// executes nothing: seccomp profiles, security modules and file systems have the
// last word, whatever versions and flags say.

// Try runs a step that executes nothing in an overlay below dir, and makes the
// changes that fail in a user namespace where the overlay's marks are refused.
func (o *Overlay) Try(ctx context.Context, dir string) error {
	r := Root{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	if err := o.points(r.Lower[0]); err != nil {
		return err
	}
	for _, d := range []string{r.Upper, r.Work, filepath.Join(r.Lower[0], "full", "of")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	_, err := o.run(ctx, &r, &Process{Hostname: "probe"}, func(root int) error {
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

// points makes the directories that are mounted on.
func (o *Overlay) points(root string) error {
	for _, m := range o.MountPoints() {
		if err := os.MkdirAll(filepath.Join(root, m.Path), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// FreshProc tells, after a run, whether steps have a /proc and a pid namespace of
// their own.
func (o *Overlay) FreshProc() bool { return o.mode.Load()&modeHostPIDs == 0 }

// Pivots tells, after a run, whether pivot_root was allowed.
func (o *Overlay) Pivots() bool { return o.mode.Load()&modeMove == 0 }

// Try runs a step that executes nothing in a directory below dir.
func (b *Bind) Try(ctx context.Context, dir string) error {
	root := filepath.Join(dir, "bound")
	if err := b.overlay.points(root); err != nil {
		return err
	}
	_, err := b.overlay.run(ctx, &Root{Dir: root}, &Process{Hostname: "probe"}, nil)
	return err
}

// FreshProc is as Overlay's.
func (b *Bind) FreshProc() bool { return b.overlay.FreshProc() }

// Pivots is as Overlay's.
func (b *Bind) Pivots() bool { return b.overlay.Pivots() }

// Try runs a step that executes nothing, with its device nodes, below dir.
func (c *Chroot) Try(ctx context.Context, dir string) error {
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if c.reaper == nil {
		return errors.New("no reaper")
	}
	_, err := c.run(ctx, &Root{Dir: root}, &Process{})
	return err
}

// Try runs a step that executes nothing in the builder's root.
func (i *InPlace) Try(ctx context.Context) error {
	if i.Links != nil && !i.identity.emulated() {
		return fmt.Errorf("the root cannot be written: %w", ErrUnsupported)
	}
	f := &furniture{dir: i.Dir, spare: i.Spare, noDev: true}
	_, err := i.runIn(ctx, f, &Process{}, func(*program) {})
	return err
}

// TryReal tells whether the kernel lets a process be whoever a step asks for:
// one that gives a file below dir away and becomes another user.
func TryReal(dir string) error {
	name := filepath.Join(dir, "given")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return err
	}
	_, err := onThread(func() (int, error) {
		pr := &program{}
		const other = 65533 // the last id of a range of 64k, but nobody
		pr.add("give a file away", unix.SYS_FCHOWNAT, at(unix.AT_FDCWD), pr.str(name), other, other, unix.AT_SYMLINK_NOFOLLOW)
		pr.add("change a file's mode", unix.SYS_FCHMODAT, at(unix.AT_FDCWD), pr.str(name), 0o600)
		if err := setIDs(pr, &Process{UID: other, GID: other, Groups: []uint32{other}}); err != nil {
			return 0, err
		}
		return pr.runOnly(0)
	})
	return errors.Join(err, os.Remove(name))
}

// TryUserNamespace makes a user namespace, and a mount in it, in a child.
func TryUserNamespace() error {
	_, err := onThread(func() (int, error) {
		pr := &program{}
		root := pr.str("/")
		pr.add("make mounts private", unix.SYS_MOUNT, pr.str(""), root, pr.str(""), unix.MS_REC|unix.MS_SLAVE, 0)
		pr.add("mount in a user namespace", unix.SYS_MOUNT, pr.str("/proc"), pr.str("/proc"), pr.str(""), unix.MS_BIND|unix.MS_REC, 0)
		return pr.runOnly(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)
	})
	return err
}

// runOnly carries a program out that executes nothing, in a child.
func (p *program) runOnly(flags uintptr) (int, error) {
	c, err := p.fork(unix.CLONE_VM | unix.CLONE_VFORK | flags)
	if err != nil {
		return 0, err
	}
	if err := c.started(); err != nil {
		return 0, err
	}
	var status unix.WaitStatus
	if _, err := retry(func() (int, error) { return unix.Wait4(c.pid, &status, 0, nil) }); err != nil {
		return 0, err
	}
	if status.Signaled() && status.Signal() == syscall.SIGSYS {
		return 0, fmt.Errorf("killed by a seccomp profile: %w", unix.EPERM)
	}
	return 0, nil
}
