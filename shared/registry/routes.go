package registry

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// routes knows where else a repository may be found.
type routes struct {
	rules      []rule
	noFallback bool
}

// rule sends everything below from to one place. The path of either may be empty.
type rule struct{ from, to place }

func newRoutes(maps, mirrors []string, noFallback bool) (routes, error) {
	r := routes{noFallback: noFallback}
	var errs []error
	for _, m := range maps {
		for entry := range strings.SplitSeq(m, ";") {
			if entry = strings.TrimSpace(entry); entry == "" {
				continue
			}
			rl, err := parseRule(entry)
			errs = append(errs, err)
			r.rules = append(r.rules, rl)
		}
	}
	for _, m := range mirrors {
		to, err := parsePrefix(m)
		if err != nil {
			err = fmt.Errorf("registry mirror: %w", err)
		}
		errs = append(errs, err)
		r.rules = append(r.rules, rule{from: place{host: hubHost}, to: to})
	}
	return r, errors.Join(errs...)
}

func parseRule(entry string) (rule, error) {
	from, to, ok := strings.Cut(entry, "=")
	if !ok {
		return rule{}, fmt.Errorf("registry map %q: want source=destination", entry)
	}
	f, err1 := parsePrefix(from)
	t, err2 := parsePrefix(to)
	if err := errors.Join(err1, err2); err != nil {
		return rule{}, fmt.Errorf("registry map %q: %w", entry, err)
	}
	return rule{f, t}, nil
}

// parsePrefix reads "host[/path]".
func parsePrefix(s string) (place, error) {
	s = strings.TrimSuffix(strings.TrimSpace(s), "/")
	if strings.Contains(s, "://") {
		return place{}, fmt.Errorf("%q: write the host without a scheme; plain HTTP is allowed per registry", s)
	}
	h, p, _ := strings.Cut(s, "/")
	host, err := parseHost(h)
	if err != nil || p == "" {
		return place{host: host}, err
	}
	if _, err := parseReference("registry.invalid/" + p); err != nil || strings.ContainsAny(p, ":@") {
		return place{}, fmt.Errorf("%q: the path is not the beginning of a repository's name", s)
	}
	return place{host, p}, nil
}

// candidate is a place to look. The origin is where the reference itself points.
type candidate struct {
	place
	origin bool
}

// candidates gives the places where p may be found, best first.
func (r routes) candidates(p place) ([]candidate, error) {
	longest := -1
	for _, rl := range r.rules {
		if rl.matches(p) {
			longest = max(longest, len(rl.from.path))
		}
	}
	var cs []candidate
	for _, rl := range r.rules {
		if !rl.matches(p) || len(rl.from.path) != longest {
			continue
		}
		to, err := rl.rewrite(p)
		if err != nil {
			return nil, err
		}
		c := candidate{place: to, origin: to == p}
		if !slices.Contains(cs, c) {
			cs = append(cs, c)
		}
	}
	origin := candidate{place: p, origin: true}
	if slices.Contains(cs, origin) || len(cs) > 0 && r.noFallback {
		return cs, nil
	}
	return append(cs, origin), nil
}

func (rl rule) matches(p place) bool {
	if rl.from.host != p.host {
		return false
	}
	return rl.from.path == "" || p.path == rl.from.path || strings.HasPrefix(p.path, rl.from.path+"/")
}

func (rl rule) rewrite(p place) (place, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(p.path, rl.from.path), "/")
	to := place{rl.to.host, path.Join(rl.to.path, rest)}
	if to.path == "" {
		return place{}, fmt.Errorf("registry map %s=%s leaves nothing of the name %s; give the destination a path", rl.from, rl.to.host, p)
	}
	if to.host == hubHost && !strings.Contains(to.path, "/") {
		to.path = "library/" + to.path
	}
	return to, nil
}
