package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
)

// Filter says which part of a directory is wanted, in the words of BuildKit's
// local source. The zero Filter is everything.
type Filter struct {
	// Include are patterns (as in .dockerignore) of which a path or a
	// directory above it must match one. None means all.
	Include []string
	// Exclude are the patterns of .dockerignore.
	Exclude []string
	// Follow are paths that are added to Include together with whatever the
	// symlinks on their way point to, inside the directory.
	Follow []string
}

// matcher answers for one goroutine which paths a Filter takes; the answers are
// those of fsutil's NewFilterFS. (A PatternMatcher compiles its patterns when
// they are first used, so it cannot be shared.)
type matcher struct {
	include, exclude *patterns
}

type patterns struct {
	*patternmatcher.PatternMatcher
	// heads are the literal beginnings below which a match may be found, each
	// with a slash at its end: of the patterns for Include, of the "!" ones for
	// Exclude. known is false when one of them has a wildcard before its end.
	heads []string
	known bool
}

// trail is what the patterns said about the directory above.
type trail struct {
	include, exclude patternmatcher.MatchInfo
}

func newMatcher(include, exclude []string) (*matcher, error) {
	m := &matcher{}
	var err error
	if m.include, err = newPatterns(include, false); err != nil {
		return nil, fmt.Errorf("include patterns %q: %w", include, err)
	}
	if m.exclude, err = newPatterns(exclude, true); err != nil {
		return nil, fmt.Errorf("exclude patterns %q: %w", exclude, err)
	}
	return m, nil
}

func newPatterns(list []string, exceptions bool) (*patterns, error) {
	if len(list) == 0 {
		return nil, nil
	}
	pm, err := patternmatcher.New(list)
	if err != nil {
		return nil, err
	}
	p := &patterns{PatternMatcher: pm, known: true}
	for _, one := range pm.Patterns() {
		if one.Exclusion() != exceptions {
			continue
		}
		head := strings.TrimSuffix(strings.TrimSuffix(one.String(), "/**"), "/*")
		if strings.ContainsAny(head, `*[]?^\`) {
			p.known = false
		}
		p.heads = append(p.heads, head+"/")
	}
	return p, nil
}

// below tells whether one of the patterns may match something in the directory.
func (p *patterns) below(dir string) bool {
	return !p.known || slices.ContainsFunc(p.heads, func(h string) bool { return strings.HasPrefix(h, dir+"/") })
}

// judge tells whether path is taken, and whether anything below it may be if it
// is a directory.
func (m *matcher) judge(path string, up trail) (taken, below bool, here trail, err error) {
	taken, below = true, true
	if m.include != nil {
		var in bool
		in, here.include, err = m.include.MatchesUsingParentResults(path, up.include)
		if err != nil {
			return false, false, here, fmt.Errorf("match %q: %w", path, err)
		}
		taken = in
		if below = in || m.include.below(path); !below {
			return false, false, here, nil
		}
	}
	if m.exclude != nil {
		var out bool
		out, here.exclude, err = m.exclude.MatchesUsingParentResults(path, up.exclude)
		if err != nil {
			return false, false, here, fmt.Errorf("match %q: %w", path, err)
		}
		if out {
			return false, m.exclude.below(path), here, nil
		}
	}
	return taken, below, here, nil
}
