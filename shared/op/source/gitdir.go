package source

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/format/index"

	"github.com/strake-build/strake/shared/layer"
)

// child is a submodule that was checked out.
type child struct {
	module
	path string
	repo *repository
}

// staged is a file in the index.
type staged struct {
	path string
	mode filemode.FileMode
	hash plumbing.Hash
}

// gitDir puts the directory of a repository itself into the table, as git has
// it beside a working tree with its commit checked out: at is ".git", or below
// it for a submodule.
func (w *checkout) gitDir(ctx context.Context, r *repository, t *layer.Table, at, worktree string) error {
	if err := r.writeGitDir(relative(at, worktree)); err != nil {
		return fmt.Errorf("make %s: %w", at, err)
	}
	dir, err := Local(ctx, r.dir, Filter{Exclude: []string{"objects/pack/tmp_*"}})
	if err != nil {
		return err
	}
	into := t.Make(at)
	for _, n := range dir.Root.Children() {
		into.Set(n)
	}
	for _, c := range r.subs {
		p, own := path.Join(worktree, c.path), path.Join(at, "modules", c.name)
		link := "gitdir: " + relative(p, own) + "\n"
		content, err := w.spool.add(strings.NewReader(link))
		if err != nil {
			return err
		}
		t.Make(p).Set(&layer.Node{Name: ".git", Inode: &layer.Inode{
			Kind: layer.Regular, Mode: 0o644, ModTime: w.mtime, Size: int64(len(link)), Content: content,
		}})
		if err := w.gitDir(ctx, c.repo, t, own, p); err != nil {
			return err
		}
	}
	return nil
}

// relative is the way from one directory of the table to another.
func relative(from, to string) string {
	rel, err := filepath.Rel("/"+from, "/"+to)
	if err != nil {
		return to // both are absolute: there is a way
	}
	return rel
}

// plainModes gives everything below n the modes and the time of a checkout,
// whatever the umask was.
func (w *checkout) plainModes(n *layer.Node) {
	switch i := n.Inode; {
	case i == nil || i.Kind == layer.Dir:
		n.Inode = w.plainDir()
	case i.Mode&0o200 != 0:
		i.Mode, i.ModTime = 0o644, w.mtime
	default:
		i.Mode, i.ModTime = 0o444, w.mtime // packs
	}
	for _, c := range n.Children() {
		w.plainModes(c)
	}
}

// writeGitDir completes the bare repository on disk; worktree is the way from
// it to its working tree.
func (r *repository) writeGitDir(worktree string) error {
	if name := plumbing.ReferenceName(r.target.name); !isCommit(r.target.name) {
		if err := name.Validate(); err != nil {
			return fmt.Errorf("ref %q: %w", name, err)
		}
		if err := r.store.SetReference(plumbing.NewHashReference(name, r.target.object)); err != nil {
			return err
		}
	}
	if err := r.store.SetReference(plumbing.NewHashReference(plumbing.HEAD, r.commit.Hash)); err != nil {
		return err
	}
	if err := r.writeConfig(worktree); err != nil {
		return err
	}
	return r.writeIndex()
}

func (r *repository) writeConfig(worktree string) error {
	cfg := config.New().
		SetOption("core", "", "repositoryformatversion", "0").
		SetOption("core", "", "filemode", "true").
		SetOption("core", "", "bare", "false").
		SetOption("core", "", "logallrefupdates", "true")
	if worktree != ".." {
		cfg.SetOption("core", "", "worktree", worktree)
	}
	cfg.SetOption("remote", "origin", "url", r.url.String()).
		SetOption("remote", "origin", "fetch", "+refs/heads/*:refs/remotes/origin/*")
	for _, s := range r.subs {
		cfg.SetOption("submodule", s.name, "active", "true")
		cfg.SetOption("submodule", s.name, "url", s.repo.url.String())
	}
	var b bytes.Buffer
	if err := config.NewEncoder(&b).Encode(cfg); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "config"), b.Bytes(), 0o644)
}

// writeIndex lists what has been checked out. The entries know nothing of the
// files: git looks at these and finds them unchanged.
func (r *repository) writeIndex() error {
	idx := &index.Index{Version: 2}
	for _, s := range r.staged {
		mode := s.mode
		if mode == filemode.Deprecated {
			mode = filemode.Regular
		}
		idx.Entries = append(idx.Entries, &index.Entry{Name: s.path, Mode: mode, Hash: s.hash})
	}
	var b bytes.Buffer
	if err := index.NewEncoder(&b).Encode(idx); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "index"), b.Bytes(), 0o644)
}
