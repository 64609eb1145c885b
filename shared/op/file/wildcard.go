package file

import (
	"path"
	"strings"

	"github.com/strake-build/strake/shared/tree"
)

// hasWildcards tells whether a name is a pattern as path.Match has it.
func hasWildcards(name string) bool {
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

// wildcards lists the paths that match the pattern p, in the order of a walk.
// Symlinks are followed in the part before the first wildcard (at its end only
// when follow is set), never in the rest. A path without wildcards is returned
// as it is, whether it is there or not.
func wildcards(v *tree.View, p string, follow bool) ([]string, error) {
	fixed, pattern := splitWildcards(p)
	if pattern == "" {
		return []string{fixed}, nil
	}
	stat := v.Lstat
	if follow {
		stat = v.Stat
	}
	dir, err := stat(fixed)
	if err != nil {
		return nil, err
	}
	g := glob{view: v, pattern: pattern, depth: strings.Count(pattern, "/") + 1}
	if strings.Contains(pattern, "[") {
		g.depth = -1 // a class may match the slash itself
	}
	if dir.IsDir() {
		g.walk(dir, "", g.depth)
	}
	return g.found, nil
}

func splitWildcards(p string) (fixed, pattern string) {
	parts := strings.Split(path.Clean(p), "/")
	for i, part := range parts {
		if hasWildcards(part) {
			return path.Join("/", path.Join(parts[:i]...)), path.Join(parts[i:]...)
		}
	}
	return path.Clean(p), ""
}

type glob struct {
	view    *tree.View
	pattern string
	depth   int
	found   []string
}

// walk looks for matches in dir and depth-1 levels below it. What is in a
// directory that matches is not looked at.
func (g *glob) walk(dir *tree.File, rel string, depth int) {
	for _, f := range g.view.ReadDir(dir) {
		name := path.Join(rel, path.Base(f.Path))
		// A malformed pattern matches nothing, as in BuildKit.
		if ok, _ := path.Match(g.pattern, name); ok {
			g.found = append(g.found, f.Path)
		} else if f.IsDir() && depth != 1 {
			g.walk(f, name, depth-1)
		}
	}
}
