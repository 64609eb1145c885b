package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/strake-build/strake/shared/layer"
)

// Git fetches a commit and makes a table of its files, with those of the
// submodules. There is no working tree on disk: names that git would refuse to
// check out are refused here, and a symlink is a symlink. Files are 0644 or
// 0755 and belong to 0:0. Attributes that change contents on checkout (eol,
// ident, filters such as LFS) are not applied.
func Git(ctx context.Context, r GitRequest) (*layer.Table, GitInfo, error) {
	c, err := newGitClient(&r)
	if err != nil {
		return nil, GitInfo{}, err
	}
	repo, err := c.fetch(ctx, c.main, c.target)
	if err != nil {
		return nil, GitInfo{}, err
	}
	defer repo.store.Close()
	t, missing, err := c.checkOut(ctx, repo)
	if err != nil {
		return nil, GitInfo{}, fmt.Errorf("check out %s: %w", c.main, err)
	}
	return t, GitInfo{
		Ref:     repo.target.name,
		Object:  repo.target.object.String(),
		Commit:  repo.commit.Hash.String(),
		Time:    repo.commit.Committer.When,
		Missing: missing,
	}, nil
}

// checkOut makes the table of a repository that was fetched, and tells which submodules are missing in it.
func (c *gitClient) checkOut(ctx context.Context, repo *repository) (*layer.Table, []error, error) {
	if !c.promised(repo.target.object, repo.commit.Hash) {
		return nil, nil, &ChecksumError{Name: c.main.String(), Want: c.Checksum, Got: repo.commit.Hash.String()}
	}
	mtime := c.Now
	if c.CommitTime {
		mtime = repo.commit.Committer.When
	} else if mtime.IsZero() {
		mtime = time.Now()
	}
	sp, err := newSpool(filepath.Join(c.Dir, "blobs"))
	if err != nil {
		return nil, nil, err
	}
	w := &checkout{gitClient: c, mtime: mtime, spool: sp, blobs: make(map[plumbing.Hash]blob), gitDirs: c.KeepGitDir && c.Subdir == ""}
	t := layer.NewTable()
	t.Root.Inode = w.plainDir()
	err = w.start(ctx, repo, t.Root)
	if err == nil && w.gitDirs {
		if err = w.gitDir(ctx, repo, t, ".git", ""); err == nil {
			w.plainModes(t.Make(".git"))
		}
	}
	if err == nil {
		err = sp.out.Flush()
	}
	if err != nil {
		return nil, nil, errors.Join(err, sp.f.Close())
	}
	return t.Seal(), w.missing, nil
}

// checkout makes nodes of trees.
type checkout struct {
	*gitClient
	mtime   time.Time
	spool   *spool
	blobs   map[plumbing.Hash]blob
	entries int
	repos   int
	missing []error
	gitDirs bool
}

// blob is a content that is in the spool already.
type blob struct {
	content layer.Content
	size    int64
}

func (w *checkout) plainDir() *layer.Inode {
	return &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: w.mtime}
}

// start goes to the subdirectory and fills root with what is there. Only
// directories and submodules are gone through, never a symlink (GHSA-4vrq-3vrq-g6gg).
func (w *checkout) start(ctx context.Context, repo *repository, root *layer.Node) error {
	at := place{repo: repo, tree: repo.commit.TreeHash}
	for _, name := range layer.Split(w.Subdir) {
		tree, err := object.GetTree(at.repo.store, at.tree)
		if err != nil {
			return fmt.Errorf("tree %s: %w", at.tree, err)
		}
		e, err := tree.FindEntry(name)
		if err != nil {
			return fmt.Errorf("subdirectory %q: there is no %q", w.Subdir, at.join(name))
		}
		if at, err = w.enter(ctx, at, e); err != nil {
			return fmt.Errorf("subdirectory %q: %w", w.Subdir, err)
		}
		defer at.repo.store.Close()
	}
	return w.tree(ctx, at, root)
}

// place is a directory in a repository.
type place struct {
	repo *repository
	path string // in the repository
	tree plumbing.Hash
}

func (p place) join(name string) string {
	if p.path == "" {
		return name
	}
	return p.path + "/" + name
}

// enter is the directory that an entry of at stands for.
func (w *checkout) enter(ctx context.Context, at place, e *object.TreeEntry) (place, error) {
	switch {
	case e.Mode == filemode.Dir:
		return place{repo: at.repo, path: at.join(e.Name), tree: e.Hash}, nil
	case e.Mode == filemode.Submodule && !w.SkipSubmodules:
		sub, _, err := w.submodule(ctx, at.repo, at.join(e.Name), e.Hash)
		if err != nil {
			return place{}, err
		}
		if sub != nil {
			return place{repo: sub, tree: sub.commit.TreeHash}, nil
		}
	}
	return place{}, fmt.Errorf("%q is not a directory", at.join(e.Name))
}

const (
	maxEntries = 2_000_000 // a tree that has itself in it a few times is a bomb
	maxPath    = 4096
)

// tree fills a directory.
func (w *checkout) tree(ctx context.Context, at place, into *layer.Node) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	tree, err := object.GetTree(at.repo.store, at.tree)
	if err != nil {
		return fmt.Errorf("tree %s: %w", at.tree, err)
	}
	if w.entries += len(tree.Entries); w.entries > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	for _, e := range tree.Entries {
		p := at.join(e.Name)
		if !allowedName(e.Name) || len(p) > maxPath || into.Child(e.Name) != nil {
			return fmt.Errorf("tree %s: invalid path %q", at.tree, p)
		}
		n := &layer.Node{Name: e.Name}
		if err := w.entry(ctx, at, e, n); err != nil {
			return err
		}
		into.Set(n)
		if e.Mode != filemode.Dir && w.gitDirs {
			at.repo.staged = append(at.repo.staged, staged{path: p, mode: e.Mode, hash: e.Hash})
		}
	}
	return nil
}

func (w *checkout) entry(ctx context.Context, at place, e object.TreeEntry, n *layer.Node) error {
	p := at.join(e.Name)
	n.Inode = &layer.Inode{Kind: layer.Regular, Mode: 0o644, ModTime: w.mtime}
	switch e.Mode {
	case filemode.Dir:
		n.Inode = w.plainDir()
		return w.tree(ctx, place{repo: at.repo, path: p, tree: e.Hash}, n)
	case filemode.Submodule:
		n.Inode = w.plainDir()
		if w.SkipSubmodules {
			return nil
		}
		return w.fillSubmodule(ctx, at.repo, p, e.Hash, n)
	case filemode.Symlink:
		target, err := w.target(at.repo, e.Hash)
		if err != nil {
			return fmt.Errorf("symlink %q: %w", p, err)
		}
		n.Inode.Kind, n.Inode.Mode, n.Inode.Target = layer.Symlink, 0o777, target
		return nil
	case filemode.Executable:
		n.Inode.Mode = 0o755
	case filemode.Regular, filemode.Deprecated:
	default:
		return fmt.Errorf("%q: mode %s", p, e.Mode)
	}
	b, err := w.blob(at.repo, e.Hash)
	if err != nil {
		return fmt.Errorf("file %q: %w", p, err)
	}
	n.Inode.Content, n.Inode.Size = b.content, b.size
	return nil
}

// blob puts the content of a file into the spool.
func (w *checkout) blob(repo *repository, h plumbing.Hash) (blob, error) {
	if b, ok := w.blobs[h]; ok {
		return b, nil
	}
	r, err := repo.read(h)
	if err != nil {
		return blob{}, err
	}
	from := w.spool.off
	content, err := w.spool.add(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return blob{}, err
	}
	b := blob{content: content, size: w.spool.off - from}
	w.blobs[h] = b
	return b, nil
}

func (r *repository) read(h plumbing.Hash) (io.ReadCloser, error) {
	obj, err := r.store.EncodedObject(plumbing.BlobObject, h)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", h, err)
	}
	return obj.Reader()
}

// target is what a symlink says.
func (w *checkout) target(repo *repository, h plumbing.Hash) (string, error) {
	r, err := repo.read(h)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxPath))
	if err = errors.Join(err, r.Close()); err != nil {
		return "", err
	}
	if len(data) == 0 || len(data) >= maxPath || strings.Contains(string(data), "\x00") {
		return "", errors.New("its target is no path")
	}
	return string(data), nil
}

// allowedName tells whether a name may be in a working tree. git refuses ".git",
// in all spellings that some file system takes for it (verify_path and
// is_ntfs_dotgit in git's sources).
func allowedName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return false
	}
	head := name
	if i := strings.IndexAny(head, `:\`); i >= 0 {
		head = head[:i]
	}
	head = strings.ToLower(strings.TrimRight(head, " ."))
	return head != ".git" && head != "git~1"
}
