package run

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/strake-build/strake/shared/disposable"
	"github.com/strake-build/strake/shared/tree"
)

// mirror is for images that have a symlink where something is mounted below: /lib
// to usr/lib, with a driver in /lib/x86_64-linux-gnu. The directory that the mount
// lies in must stay, so it cannot be the link; but every name of the directory that
// the link leads to can be found there, as a link of its own. These names are no
// part of the image.
type mirror map[string]string // a name in the root, to what it leads to

// mirrorOf finds what there is to mirror.
func mirrorOf(view *tree.View, places *disposable.Places) (mirror, error) {
	m := mirror{}
	seen := map[string]bool{}
	for _, name := range append(places.Mounts(), places.Keeps()...) {
		for dir := filepath.Dir(name); dir != "." && !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			f, err := view.Exact(dir)
			if err != nil || f.IsDir() {
				continue // nothing of the image's is there, or what should be
			}
			target, to, err := view.Resolve(dir, true)
			if errors.Is(err, fs.ErrNotExist) || err == nil && (to == nil || !to.IsDir()) {
				continue // a link to nowhere
			}
			if err != nil {
				return nil, err
			}
			m.add(view, places, dir, target, to)
		}
	}
	return m, nil
}

func (m mirror) add(view *tree.View, places *disposable.Places, dir, target string, at *tree.File) {
	for _, c := range view.ReadDir(at) {
		base := filepath.Base(c.Path)
		name := join(dir, base)
		switch {
		case places.Reserved(name):
		case !places.Anchored(name):
			m[name] = "/" + join(target, base)
		case c.IsDir():
			m.add(view, places, name, join(target, base), c)
		}
	}
}

// place makes the links.
func (m mirror) place(root string) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := filepath.Join(root, name)
		if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make way for a link in a directory that is mounted into: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return fmt.Errorf("link what a mount hides: %w", err)
		}
		err := os.Symlink(m[name], at)
		if errors.Is(err, fs.ErrPermission) {
			return shut(filepath.Dir(name))
		}
		if err != nil {
			return fmt.Errorf("link what a mount hides: %w", err)
		}
	}
	return nil
}

// remove takes the links away. What a step did to one of them it meant for what the
// link stands for, and there it did not happen.
func (m mirror) remove(root string) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := filepath.Join(root, name)
		if to, err := os.Readlink(at); err != nil || to != m[name] {
			return &Unsupported{
				"the step removes or replaces /" + name,
				"which is " + m[name] + " by a symlink of the image, and something is mounted beside it; name that path instead, or mount it elsewhere",
			}
		}
		if err := os.Remove(at); err != nil {
			return fmt.Errorf("remove a link from a directory that is mounted into: %w", err)
		}
	}
	return nil
}

// moveInto moves what is in from to to, into the directories that both have, and
// leaves what must stay.
func moveInto(root, from, to string, places *disposable.Places) error {
	if err := os.MkdirAll(filepath.Join(root, to), 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(root, from))
	if err != nil {
		return err
	}
	for _, e := range entries {
		a, b := join(from, e.Name()), join(to, e.Name())
		if places.Reserved(a) {
			continue
		}
		there, err := os.Lstat(filepath.Join(root, b))
		switch {
		case e.IsDir() && (places.Anchored(a) || err == nil && there.IsDir()):
			err = moveInto(root, a, b, places)
			if err == nil && !places.Anchored(a) {
				err = os.Remove(filepath.Join(root, a))
			}
		default:
			err = os.Rename(filepath.Join(root, a), filepath.Join(root, b))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
