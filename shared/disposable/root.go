// Package disposable is the root filesystem of the official image, which a build
// may replace: it knows what in it stays, empties it, and puts stages in and out.
//
// Nothing here is done to a root that does not say of itself that it may be
// replaced: a marker lies beside the builder's own program, and what else is in
// the root is what the image or a build has put there.
package disposable

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Marker is the name of the file, beside the builder's program, by which a root
// says that it may be replaced. Its lines name what else is the image's own and
// stays, as absolute paths; lines that begin with # are comments.
const Marker = ".disposable-root"

// stages is where stages are put aside, in the home.
const stages = ".stages"

// ErrForeign is a root that is not ours to replace.
var ErrForeign = errors.New("this root filesystem is not the builder's to replace")

// Root is a root filesystem that may be replaced. One process has it at a time.
type Root struct {
	dir  string // where stages are put: "/", or the target of links in it
	top  string // "/", but for tests
	home string // the directory of the builder's program
	// links are the names in the root that lead into dir, where dir is not the root.
	links []string
	// Where dir is the root and the links go: the names of what is mounted behind
	// them that the builder needs, and of the rest.
	relinked, unlinked []string

	kept []string
	lock *os.File
	dirt *dirt
	next int
}

// Options says where the root is and what in it is not a stage's.
type Options struct {
	// Dir is the root; empty means "/".
	Dir string
	// Home is the directory of the builder's program, in Dir.
	Home string
	// Keep names more that stays: the build's context, files that it reads and
	// writes. Absolute paths; those outside of Dir count for nothing.
	Keep []string
}

// Find tells whether the root may be replaced, and where stages are put. The
// error wraps ErrForeign and names what speaks against it. Nothing is changed,
// nor may it be by what is returned: see Open.
func Find(o Options) (*Root, error) {
	r, err := find(o)
	if err != nil {
		return nil, err
	}
	if err := r.examine(); err != nil {
		return nil, err
	}
	return r, r.try()
}

// try does what putting stages in and out takes.
func (r *Root) try() error {
	aside, err := os.MkdirTemp(r.home, ".aside-*")
	if err != nil {
		return fmt.Errorf("put a stage aside: %w (the directory of the builder's program must be writable)", err)
	}
	defer os.RemoveAll(aside)
	probe, err := os.MkdirTemp(r.dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("put a stage into %s: %w (it must be writable for user %d)", r.dir, err, os.Geteuid())
	}
	if err := os.Rename(probe, filepath.Join(aside, "probe")); err != nil {
		return errors.Join(fmt.Errorf("put a stage aside: %w", err), os.Remove(probe))
	}
	return nil
}

// Open takes the root for this process and empties it. Another build that has
// it is waited for; waiting is told of that, once. The error wraps ErrForeign
// where the root is not to be touched.
func Open(ctx context.Context, o Options, waiting func()) (*Root, error) {
	r, err := find(o)
	if err != nil {
		return nil, err
	}
	if err := r.take(ctx, waiting); err != nil {
		return nil, err
	}
	err = r.examine()
	if err == nil {
		err = r.begin()
	}
	if err == nil {
		err = r.Empty()
	}
	if err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	return r, nil
}

// find reads the marker. It must be on the root's own file system: one on a
// volume says nothing of the root that the volume is mounted in.
func find(o Options) (*Root, error) {
	r := &Root{dir: o.Dir, home: filepath.Clean(o.Home)}
	if r.dir == "" {
		r.dir = "/"
	}
	r.top = r.dir
	home, ok := r.inside(r.home)
	if !ok || home == "" {
		return nil, fmt.Errorf("%w: the builder's program is in %s, not in a directory of its own below %s", ErrForeign, r.home, r.dir)
	}
	marker := filepath.Join(r.home, Marker)
	text, err := os.ReadFile(marker)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s, which the official image has", ErrForeign, marker)
	}
	if err != nil {
		return nil, fmt.Errorf("read the mark of a disposable root: %w", err)
	}
	if err := r.follow(); err != nil {
		return nil, err
	}
	if r.links == nil {
		if r.relinked, r.unlinked, err = r.behind(o.Keep); err != nil {
			return nil, err
		}
		r.kept = append(slices.Clone(r.relinked), home)
	}
	r.keep(append(names(text), o.Keep...))
	places, err := r.mounts(r.top)
	if err != nil {
		return nil, err
	}
	if m := path.Join(home, Marker); places.Mounted(m) {
		return nil, fmt.Errorf("%w: %s is on a volume", ErrForeign, marker)
	}
	return r, nil
}

func (r *Root) keep(abs []string) {
	for _, a := range abs {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(a)); err == nil {
			a = filepath.Join(dir, filepath.Base(a))
		}
		if name, ok := r.inside(a); ok && name != "" {
			r.kept = append(r.kept, name)
		}
	}
	r.kept = outermost(r.kept)
}

// names are the paths that a marker names.
func names(text []byte) []string {
	var list []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if l := strings.TrimSpace(lines.Text()); l != "" && l[0] != '#' {
			list = append(list, l)
		}
	}
	return list
}

// Dir is the directory that stages are put into: the root, or where links in the
// root lead.
func (r *Root) Dir() string { return r.dir }

// Links names what in the root leads into Dir; nil where Dir is the root.
func (r *Root) Links() []string { return r.links }

// Home is the directory of the builder's program. It is on the root's own file
// system, and stays.
func (r *Root) Home() string { return r.home }

// Places tells what in the root is not a stage's, as it is now.
func (r *Root) Places() (*Places, error) { return r.places() }

// lockPoll is how often a lock that another build holds is tried again.
const lockPoll = 100 * time.Millisecond

// take waits for the lock, which ends with the process that holds it.
func (r *Root) take(ctx context.Context, waiting func()) error {
	var err error
	// Any user may have been the one of the last build.
	r.lock, err = os.OpenFile(filepath.Join(r.home, ".inplace"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return fmt.Errorf("take the root filesystem: %w", err)
	}
	_ = r.lock.Chmod(0o666) // whatever the umask; it may be another user's, and right already
	told := false
	for {
		err := unix.Flock(int(r.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return errors.Join(fmt.Errorf("take the root filesystem: %w", err), r.lock.Close())
		}
		if !told && waiting != nil {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), r.lock.Close())
		case <-time.After(lockPoll):
		}
	}
}

// Close gives the root to the next build with the last stage in it, which that
// removes; what was put aside is removed now. What is mounted is found again by
// the names it was mounted by.
func (r *Root) Close() error {
	return errors.Join(os.RemoveAll(filepath.Join(r.home, stages)), r.relink(r.unlinked), r.lock.Close())
}
