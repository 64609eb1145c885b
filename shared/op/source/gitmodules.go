package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/strake-build/strake/shared/layer"
)

const (
	maxModuleDepth = 10
	maxModules     = 1000
	maxModulesFile = 1 << 20
)

// module is an entry of .gitmodules (gitmodules(5)).
type module struct{ name, url, update string }

// findModules reads .gitmodules of the commit, if it is a plain file.
func (r *repository) findModules() error {
	if r.modules != nil {
		return nil
	}
	r.modules = make(map[string]module)
	tree, err := object.GetTree(r.store, r.commit.TreeHash)
	if err != nil {
		return err
	}
	e, err := tree.FindEntry(".gitmodules")
	if err != nil || !e.Mode.IsRegular() && e.Mode != filemode.Executable {
		return nil //nolint:nilerr // there are none
	}
	in, err := r.read(e.Hash)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(in, maxModulesFile))
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	cfg := config.New()
	if err := config.NewDecoder(bytes.NewReader(data)).Decode(cfg); err != nil {
		return fmt.Errorf(".gitmodules: %w", err)
	}
	for _, s := range cfg.Section("submodule").Subsections {
		m := module{name: s.Name, url: s.Option("url"), update: s.Option("update")}
		r.modules[strings.Trim(s.Option("path"), "/")] = m
	}
	return nil
}

// SubmoduleError says which submodule could not be fetched.
type SubmoduleError struct {
	Path string
	Err  error
}

func (e *SubmoduleError) Error() string { return fmt.Sprintf("submodule %q: %v", e.Path, e.Err) }

// Unwrap gives the cause.
func (e *SubmoduleError) Unwrap() error { return e.Err }

// submodule fetches the submodule at p; nil if it is not to be checked out.
func (w *checkout) submodule(ctx context.Context, parent *repository, p string, commit plumbing.Hash) (_ *repository, m module, err error) {
	defer func() {
		if err != nil {
			err = &SubmoduleError{Path: p, Err: err}
		}
	}()
	if err = parent.findModules(); err != nil {
		return nil, m, err
	}
	var ok bool
	m, ok = parent.modules[p]
	switch w.repos++; {
	case !ok || m.url == "":
		return nil, m, errors.New("no URL in .gitmodules")
	case strings.HasPrefix(m.update, "!"):
		return nil, m, fmt.Errorf("update command %q", m.update)
	case m.update == "none":
		return nil, m, nil
	case !allowedModule(m.name):
		return nil, m, fmt.Errorf("invalid name %q", m.name)
	case parent.depth >= maxModuleDepth || w.repos > maxModules:
		return nil, m, fmt.Errorf("more than %d, or more than %d within each other", maxModules, maxModuleDepth)
	}
	u, err := parent.url.submodule(m.url)
	if err != nil {
		return nil, m, err
	}
	sub, err := w.fetch(ctx, u, func(refs *packp.AdvRefs) (target, error) {
		return target{name: commit.String(), object: commit}.among(refs), nil
	})
	if err != nil {
		return nil, m, err
	}
	sub.depth = parent.depth + 1
	return sub, m, nil
}

// allowedModule tells whether a name may be part of a path (check_submodule_name
// in git's sources; CVE-2018-11235).
func allowedModule(name string) bool {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "\x00\r\n") {
		return false
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(name, `\`, "/"), "/") {
		if part == ".." || part == "." || part == "" {
			return false
		}
	}
	return true
}

// fillSubmodule checks a submodule out into n.
func (w *checkout) fillSubmodule(ctx context.Context, parent *repository, p string, commit plumbing.Hash, n *layer.Node) error {
	sub, m, err := w.submodule(ctx, parent, p, commit)
	if err != nil && w.OptionalSubmodules && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) {
		w.missing = append(w.missing, err)
		return nil
	}
	if err != nil || sub == nil {
		return err
	}
	defer sub.store.Close()
	if err := w.tree(ctx, place{repo: sub, tree: sub.commit.TreeHash}, n); err != nil {
		return &SubmoduleError{Path: p, Err: err}
	}
	if !w.gitDirs {
		return nil
	}
	parent.subs = append(parent.subs, child{module: m, path: p, repo: sub})
	return nil
}
