// Package sandbox runs one process in a root filesystem and answers for everything that the process started.
//
// What gives a process its root is a view: Overlay mounts layer directories,
// Chroot enters a plain directory. Probe finds out by trying which of them work
// here, Choose picks one. Both start the process without executing the builder
// again: a thread of its own builds the namespaces, and a child made by vfork
// carries out a list of system calls that was written down beforehand.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Sandbox runs processes. Run may be called from any number of goroutines, each
// with a root and writable sources of its own.
type Sandbox interface {
	// Run runs p in r and returns when p and all that it started are gone.
	// A process that ends with a code or by a signal is no error; an error says
	// that it could not be run, as *ExecError where its program was not to be
	// executed, or why ctx was cancelled.
	Run(ctx context.Context, r Root, p Process) (Exit, error)
	// View tells what the sandbox needs and what it can keep.
	View() View
}

// View describes a way of giving a process its root.
type View struct {
	// Name is "overlay", "bind", "inplace" or "chroot".
	Name string
	// Emulated says that ids and what root may do are emulated.
	Emulated bool
	// Layered says that Root.Lower, Upper and Work are understood; otherwise
	// only Root.Dir is.
	Layered bool
	// ReadOnly says that read-only mounts are kept read-only.
	ReadOnly bool
	// NetworkNone says that a process can be cut off from the network.
	NetworkNone bool
	// MountPoints are directories that the root must have before Run.
	MountPoints []MountPoint
	// Mounted, if set, lists the places of the root, as absolute paths, that
	// show something else than the root's own content: the step sees that.
	Mounted func() ([]string, error)
}

// MountPoint is a directory that a view mounts on.
type MountPoint struct {
	Path string
	Mode uint32
}

// MaxLayers is how many lower directories overlayfs stacks (OVL_MAX_STACK).
const MaxLayers = 500

// Root is a root filesystem on disk: layers with Lower, Upper and Work, or a
// plain directory with Dir. All paths are absolute.
type Root struct {
	// Lower are directories in overlayfs format, the top one first.
	Lower []string
	// Upper takes the changes and Work is overlayfs' own; both exist, on one
	// filesystem that is no overlay. Work is of no use afterwards.
	Upper, Work string
	Dir         string
}

// Network is what a process can reach.
type Network int

// The networks there are.
const (
	Host Network = iota // the builder's own
	None                // a loopback interface and nothing else
)

// Rlimit is a resource limit; -1 is unlimited.
type Rlimit struct {
	Name       string // as in RUN --ulimit: nofile, nproc, core…
	Soft, Hard int64
}

// Process is what is run.
type Process struct {
	// Args is the program and its arguments. A name without a slash is looked
	// up in PATH of Env.
	Args, Env []string
	// Cwd is an existing directory of the root, or one that MakeCwd makes, in
	// what is mounted there.
	Cwd      string
	MakeCwd  bool
	UID, GID uint32
	Groups   []uint32
	// Hostname is kept by views with a UTS namespace, and ignored by Chroot.
	Hostname string
	// Rlimits not named are those of the builder.
	Rlimits []Rlimit
	Network Network
	// Stdout and Stderr are written by at most one goroutine at a time when
	// they are the same; nil discards.
	Stdout, Stderr io.Writer
	// Mounts are made in this order.
	Mounts []Mount
}

// Mount is something more that the process sees. Exactly one of Source, Tmpfs
// and Overlay is set.
type Mount struct {
	// Target is absolute and clean, without a symlink on the way, and there is
	// a file or a directory there, as the source is.
	Target string
	// Make makes the target where it is missing. It is for targets in what an
	// earlier mount shows: the point stays there.
	Make bool
	// Source is a directory, file or socket outside of the root. Chroot moves
	// it into the root for the length of the step: there it must be the
	// caller's to move, and in one step at a time.
	Source string
	// ReadOnly cannot be kept by Chroot.
	ReadOnly bool
	NoExec   bool
	NoSuid   bool
	// Tmpfs is an empty filesystem in memory. Size 0 is the kernel's default,
	// Mode 0 means 0755.
	Tmpfs bool
	Size  int64
	Mode  uint32
	// Overlay is mounted for this mount only; without Upper it is read-only.
	// Chroot has none.
	Overlay *Root
	// Subdir is the part of Source or Overlay that is seen. Symlinks on the way
	// are followed inside of it only.
	Subdir string
}

// Exit tells how a process ended and what it and its children took.
type Exit struct {
	Code int
	// Signal is not 0 where a signal ended it; Code is 128 + Signal then.
	Signal syscall.Signal
	// OOMKilled says that the kernel ran out of memory (or the control group
	// did) and killed a process while this one was killed.
	OOMKilled    bool
	User, System time.Duration
	// MaxRSS is the most memory of one of its processes, in bytes; the kernel
	// counts the builder's in, whose memory the first shared until it executed
	// its program.
	MaxRSS int64
}

// ErrUnsupported is what a view cannot do; the error that wraps it names a way out.
var ErrUnsupported = errors.New("not possible here")

// ExecError says that the process' own program could not be executed.
type ExecError struct {
	Name string
	Err  error // a syscall.Errno
}

func (e *ExecError) Error() string {
	if errors.Is(e.Err, syscall.ENOENT) && !strings.Contains(e.Name, "/") {
		return fmt.Sprintf("execute %s: not found in PATH", e.Name)
	}
	return fmt.Sprintf("execute %s: %v", e.Name, e.Err)
}

func (e *ExecError) Unwrap() error { return e.Err }

// validate finds what no view could run.
func (p *Process) validate() error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return errors.New("run a process: no program is named")
	}
	if p.Cwd != "" && !path.IsAbs(p.Cwd) {
		return fmt.Errorf("working directory %q: not absolute", p.Cwd)
	}
	for _, m := range p.Mounts {
		if err := m.validate(); err != nil {
			return fmt.Errorf("mount on %q: %w", m.Target, err)
		}
	}
	return nil
}

func (m *Mount) validate() error {
	kinds := 0
	for _, set := range []bool{m.Source != "", m.Tmpfs, m.Overlay != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("wants one of a source, a tmpfs and an overlay")
	case m.Source != "" && !filepath.IsAbs(m.Source):
		return fmt.Errorf("source %q: not absolute", m.Source)
	case !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || m.Target == "/":
		return errors.New("the target is not an absolute, clean path below /")
	case under(m.Target, "/proc"):
		// Nothing may be laid over /proc: the masks and the step's idea of
		// itself are there (CVE-2019-19921, CVE-2019-16884).
		return errors.New("nothing is mounted over /proc")
	}
	if m.Overlay != nil {
		return m.Overlay.validate()
	}
	return nil
}

// validate checks the shape of a root, not what is on disk.
func (r *Root) validate() error {
	if r.Dir != "" {
		if len(r.Lower) > 0 || r.Upper != "" {
			return errors.New("a root is layers or a directory, not both")
		}
		return absolute(r.Dir)
	}
	switch {
	case len(r.Lower) == 0:
		return errors.New("a root without a layer")
	case len(r.Lower) > MaxLayers:
		return fmt.Errorf("%d layers: overlayfs stacks %d at most", len(r.Lower), MaxLayers)
	case (r.Upper == "") != (r.Work == ""):
		return errors.New("an upper directory wants a work directory beside it")
	}
	if r.Upper == "" {
		return absolute(r.Lower...)
	}
	return absolute(append([]string{r.Upper, r.Work}, r.Lower...)...)
}

func absolute(paths ...string) error {
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("directory %q: not absolute", p)
		}
	}
	return nil
}

// under says whether p is dir or below it; both are clean.
func under(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/')
}
