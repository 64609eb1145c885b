package disposable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// containerd and Docker make the root directory of a container themselves, and
// give it to root with mode 0755, whatever the image says of it. An ordinary user
// cannot put a stage there. So the official image has the usual names in its root
// as links into a directory in the home, which the image can open to all.

// linked is the directory in the home into which the links lead.
const linked = "root"

// follow makes the target of the links the place for stages, where the root
// itself is closed to us.
func (r *Root) follow() error {
	target := filepath.Join(r.home, linked)
	if unix.Faccessat(unix.AT_FDCWD, r.top, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil {
		return nil
	}
	if fi, err := os.Stat(target); err != nil || !fi.IsDir() {
		return nil //nolint:nilerr // try will say that the root is closed
	}
	entries, err := os.ReadDir(r.top)
	if err != nil {
		return fmt.Errorf("look for links in the root filesystem: %w", err)
	}
	r.links = []string{}
	for _, e := range entries {
		if r.isLink(filepath.Join(r.top, e.Name()), e) {
			r.links = append(r.links, e.Name())
		}
	}
	r.dir = target
	return nil
}

// isLink tells whether a file is one of the image's links.
func (r *Root) isLink(abs string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 || filepath.Dir(abs) != r.top {
		return false
	}
	to, err := os.Readlink(abs)
	return err == nil && to == filepath.Join(r.home, linked, e.Name())
}

// own are the names in the root that every container has, and no stage.
var own = map[string]bool{"dev": true, "proc": true, "sys": true}

// Shows tells whether a step finds what a stage has by a name in its root.
func (r *Root) Shows(name string) bool {
	if r.links == nil || own[name] {
		return true
	}
	for _, l := range r.links {
		if l == name {
			return true
		}
	}
	return false
}

// relink gives the builder its name service back, and what is mounted where it
// reads and writes: where the image's links are gone, since the root itself takes
// stages, all that is still mounted where they led.
func (r *Root) relink(names []string) error {
	for _, name := range names {
		at := filepath.Join(r.top, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join(r.home, linked, name), at); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return nil
}

// behind are the names of what is mounted behind the image's links: of the
// runtime's own files, and of what keep lies in.
func (r *Root) behind(keep []string) (wanted, others []string, err error) {
	if r.links != nil {
		return nil, nil, nil
	}
	target := filepath.Join(r.home, linked)
	places, err := r.mounts(target)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range places.mounts {
		lies := func(abs string) bool {
			// By its own name, too: an earlier build may have removed the link.
			return within(resolved(abs), filepath.Join(target, name)) || within(abs, filepath.Join(r.top, name))
		}
		switch {
		case filepath.Dir(name) == "etc" || slices.ContainsFunc(keep, lies):
			wanted = append(wanted, name)
		case !within(name, "run"): // what the runtime has there is not for the next build to look for
			others = append(others, name)
		}
	}
	return wanted, others, nil
}

// resolved follows the symlinks on the way to a file that need not be there.
func resolved(abs string) string {
	if all, err := filepath.EvalSymlinks(abs); err == nil {
		return all
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(dir, filepath.Base(abs))
	}
	return abs
}
