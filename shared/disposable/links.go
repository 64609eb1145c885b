package disposable

import (
	"errors"
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

// bone is a directory or a symlink that the image has where its links lead.
type bone struct {
	Name string      `json:"name"`
	Mode fs.FileMode `json:"mode,omitempty"`
	To   string      `json:"to,omitempty"` // of a symlink
}

// bones lists them, while nothing has been done to the root yet.
func (r *Root) bones() ([]bone, error) {
	dir := filepath.Join(r.home, linked)
	places, err := r.mounts(dir)
	if err != nil {
		return nil, err
	}
	var list []bone
	err = filepath.WalkDir(dir, func(abs string, e fs.DirEntry, err error) error {
		name, _ := below(abs, dir)
		switch {
		case err != nil:
			return err
		case places.Reserved(name) && e.IsDir():
			return filepath.SkipDir
		case e.IsDir():
			info, err := e.Info()
			if err != nil {
				return err
			}
			list = append(list, bone{Name: name, Mode: info.Mode()})
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(abs)
			if err != nil {
				return err
			}
			list = append(list, bone{Name: name, To: to})
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look at the image's own directories: %w", err)
	}
	return list, nil
}

// leave puts back what a runtime walks through when it starts the container once
// more: it makes the directories that it misses on the way to a mount itself, as
// root, and no stage of an ordinary user's could be put into those. What the last
// stage has by such a name is passed over.
func (r *Root) leave() error {
	for _, b := range r.dirt.Skeleton {
		at := filepath.Join(r.home, linked, b.Name)
		err := b.make(at)
		if (err == nil || errors.Is(err, fs.ErrExist)) && b.Name != "" && filepath.Dir(b.Name) == "." {
			err = os.Symlink(at, filepath.Join(r.top, b.Name))
		}
		switch {
		case err == nil, errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		case errors.Is(err, fs.ErrPermission): // it is the runtime's already
		default:
			return fmt.Errorf("leave the root filesystem as the next start of the container needs it: %w", err)
		}
	}
	return nil
}

func (b bone) make(at string) error {
	if b.To != "" {
		return os.Symlink(b.To, at)
	}
	if err := os.Mkdir(at, b.Mode.Perm()); err != nil {
		return err
	}
	return os.Chmod(at, b.Mode) // whatever the umask
}
