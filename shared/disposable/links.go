package disposable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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

// relink gives the builder its name service back: where the image's links are
// gone, since the root itself takes stages, the runtime's files are still mounted
// where they led.
func (r *Root) relink() error {
	names, err := r.etc()
	if err != nil {
		return err
	}
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

// etc are the files that relink makes, which stay.
func (r *Root) etc() ([]string, error) {
	if r.links != nil {
		return nil, nil
	}
	places, err := r.mounts(filepath.Join(r.home, linked))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range places.mounts {
		if filepath.Dir(name) == "etc" {
			list = append(list, name)
		}
	}
	return list, nil
}
