package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// mounts is what a step has mounted, and how to be rid of it.
type mounts struct {
	view    *tree.View
	foreign []string // places of the root where the builder's container has something of its own
	covered []string // places whose content is not the root's own; foreign ones among them
	list    []sandbox.Mount
	points  []Point
	caches  map[string]string // the directories of the step's cache mounts, by key
	cleanup []func() error
}

// release undoes the preparations, the last first.
func (m *mounts) release() error {
	var errs []error
	for _, f := range slices.Backward(m.cleanup) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// source is one mount made ready: what a mount type's own function yields.
type source struct {
	mount   sandbox.Mount // Target is filled in by the caller
	file    bool          // a file, not a directory
	absent  bool          // nothing is mounted: an optional secret that was not given
	release func() error
}

// mounts makes all mounts of a step ready. What it returns is to be released
// even when there is an error.
func (r *Runner) mounts(ctx context.Context, op *graph.Exec, view *tree.View, inputs []tree.Tree) (*mounts, error) {
	m := &mounts{view: view, caches: make(map[string]string)}
	if mounted := r.Sandbox.View().Mounted; mounted != nil {
		list, err := mounted()
		if err != nil {
			return m, err
		}
		for _, p := range list {
			m.foreign = append(m.foreign, strings.TrimPrefix(p, "/"))
		}
		m.covered = append(m.covered, m.foreign...)
	}
	if err := r.systemMounts(m, op); err != nil {
		return m, err
	}
	list := slices.DeleteFunc(slices.Clone(op.Mounts), func(g graph.Mount) bool { return g.Target == "/" })
	slices.SortStableFunc(list, func(a, b graph.Mount) int { return cmp.Compare(absTarget(op, &a), absTarget(op, &b)) })
	sources := make([]source, len(list))
	for _, i := range lockOrder(list) {
		var err error
		sources[i], err = r.source(ctx, m, &list[i], inputTree(&list[i], inputs))
		if f := sources[i].release; f != nil {
			m.cleanup = append(m.cleanup, f)
		}
		if err != nil {
			return m, fmt.Errorf("mount %s: %w", list[i].Target, err)
		}
	}
	for i, s := range sources {
		if s.absent {
			continue
		}
		if err := m.add(absTarget(op, &list[i]), s); err != nil {
			return m, err
		}
	}
	return m, nil
}

// lockOrder puts the caches first, by their IDs: steps that wait for each
// other's caches all wait in the same order, so that none waits for ever.
func lockOrder(list []graph.Mount) []int {
	id := func(i int) string {
		if c := list[i].Cache; c != nil {
			return "cache " + c.ID
		}
		return "other"
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(id(a), id(b)) })
	return order
}

func absTarget(op *graph.Exec, m *graph.Mount) string {
	if path.IsAbs(m.Target) {
		return path.Clean(m.Target)
	}
	return path.Join("/", op.Cwd, m.Target)
}

// source prepares a mount by its type.
func (r *Runner) source(ctx context.Context, step *mounts, m *graph.Mount, in tree.Tree) (source, error) {
	switch m.Type {
	case graph.MountCache:
		return r.cacheSource(ctx, step, m, in)
	case graph.MountTmpfs:
		return source{mount: sandbox.Mount{Tmpfs: true, Size: m.Size, Mode: 0o1777}}, nil
	case graph.MountSecret:
		return r.secretSource(m)
	case graph.MountSSH:
		return r.sshSource(ctx, m)
	default:
		return r.bindSource(ctx, m, in)
	}
}

// add places a mount in the root: its target is resolved, symlinks followed
// inside, since the sandbox mounts on plain paths only. A point that lies in
// another mount is made there, by the sandbox: in a cache it stays, in a tmpfs
// it is lost, and a read-only mount must have it.
func (m *mounts) add(target string, s source) error {
	resolved, _, nested, err := m.resolve(target)
	if err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	if resolved == "" {
		return fmt.Errorf("mount %s: that is the root itself: %w", target, fs.ErrInvalid)
	}
	s.mount.Target = "/" + resolved
	s.mount.Make = nested
	m.list = append(m.list, s.mount)
	m.covered = append(m.covered, resolved)
	if !nested {
		m.points = append(m.points, Point{Path: resolved, Dir: !s.file})
	}
	return nil
}

// resolve says which path p really is, and whether it lies in (or is) something
// that is mounted over the root. From there on it is taken literally, since only
// the root's own symlinks are known.
func (m *mounts) resolve(p string) (resolved string, f *tree.File, nested bool, err error) {
	names := layer.Split(p)
	for i := range names {
		resolved, f, err = m.view.Resolve(strings.Join(names[:i+1], "/"), true)
		if err != nil {
			return "", nil, false, err
		}
		if m.covers(resolved) {
			return path.Join(append([]string{resolved}, names[i+1:]...)...), nil, true, nil
		}
	}
	return resolved, f, false, nil
}

func (m *mounts) covers(p string) bool { return underAny(p, m.covered) }

// workdir finds where the process begins: in the root, where the directory is
// made as part of the result, or in a mount.
func (m *mounts) workdir(p *sandbox.Process, dir string) error {
	cwd, f, nested, err := m.resolve(dir)
	if err == nil && f != nil && !f.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return fmt.Errorf("working directory %s: %w", dir, err)
	}
	p.Cwd = "/" + cwd
	if underAny(cwd, m.foreign) && !underAny(cwd, lent) {
		return &Unsupported{"working directory " + dir, "the builder's container has something of its own there, which would not be part of the image; mount that elsewhere, or run the builder where --isolation=overlay works"}
	}
	if nested {
		p.MakeCwd = p.Cwd != "/proc" && !strings.HasPrefix(p.Cwd, "/proc/") // which is mounted last
		return nil
	}
	m.points = append(m.points, Point{Path: cwd, Dir: true, Keep: true})
	return nil
}
