package source

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// paths is what can be asked about a directory while symlinks are resolved in it.
type paths interface {
	// names lists a directory in no order, "" being the top.
	names(p string) ([]string, error)
	// link returns what the symlink at p says, "" if it is none. No symlink on
	// the way is followed.
	link(p string) (string, error)
}

// includes returns the include patterns with the follow paths worked in, as
// fsutil does it.
func includes(in paths, f Filter) ([]string, error) {
	if len(f.Follow) == 0 {
		return f.Include, nil
	}
	res := &resolver{in: in, seen: make(map[string]bool)}
	for _, p := range f.Follow {
		if err := res.add(p); err != nil {
			return nil, err
		}
	}
	found := make([]string, 0, len(res.seen))
	for p := range res.seen {
		found = append(found, p)
	}
	slices.Sort(found)
	if found = outermost(found); found == nil {
		return f.Include, nil
	}
	return outermost(slices.Concat(f.Include, found)), nil
}

// resolver collects paths and the targets of the symlinks on their way.
type resolver struct {
	in   paths
	seen map[string]bool
}

func (r *resolver) add(p string) error {
	at, rest := ".", path.Join(".", p)
	for {
		name, tail, _ := strings.Cut(rest, "/")
		at, rest = path.Join(at, name), tail
		targets, err := r.targets(at)
		if err != nil {
			return err
		}
		if rest != "" && targets == nil {
			continue
		}
		if r.seen[at] {
			return nil
		}
		r.seen[at] = true
		for _, target := range targets {
			if err := r.add(path.Join(target, rest)); err != nil {
				return err
			}
		}
		return nil
	}
}

// targets says where p leads if it is a symlink, or where the symlinks lead
// that match it if its last part has wildcards: nil if there are none.
func (r *resolver) targets(p string) ([]string, error) {
	if !hasWildcard(path.Base(p)) {
		return r.target(p)
	}
	dir := path.Dir(p)
	names, err := r.in.names(strings.TrimPrefix(dir, "."))
	if err != nil {
		return nil, unlessMissing(err)
	}
	slices.Sort(names)
	var out []string
	for _, name := range names {
		if ok, _ := filepath.Match(path.Base(p), name); !ok {
			continue
		}
		t, err := r.target(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		out = append(out, t...)
	}
	return out, nil
}

func (r *resolver) target(p string) ([]string, error) {
	if p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return nil, nil
	}
	link, err := r.in.link(p)
	if err != nil || link == "" {
		return nil, unlessMissing(err)
	}
	if path.IsAbs(link) {
		return []string{path.Clean(link)}, nil
	}
	return []string{path.Join("/", path.Dir(p), link)}, nil
}

// unlessMissing is err unless it only says that there is nothing. A name that is too
// long, or has a zero byte, cannot be there either: the paths are what users
// wrote behind ADD, URLs among them.
func unlessMissing(err error) error {
	if err == nil || missing(err) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// hasWildcard tells whether name is a pattern.
func hasWildcard(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// outermost takes out what lies below the path before it; nil if the whole
// directory is among them.
func outermost(paths []string) []string {
	out := make([]string, 0, len(paths))
	last := ""
	for _, p := range paths {
		if p == "." {
			return nil
		}
		if strings.HasPrefix(p, last+"/") {
			continue
		}
		out = append(out, p)
		last = p
	}
	return out
}
