package file

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// copier carries out one copy action.
type copier struct {
	*step
	*graph.Copy

	chmod            *mode.Set // of ModeStr
	include, exclude *patternmatcher.PatternMatcher
	links            map[*layer.Inode]*layer.Inode // from the source's to ours
	required         []*required
	into             *tree.Dir // the destination, once it is a directory
}

// required is a path that must be among what is copied.
type required struct {
	path string
	met  bool
}

func (s *step) copy(ctx context.Context, a *graph.Copy) error {
	c, err := s.newCopier(a)
	if err != nil {
		return err
	}
	src, dest := cleanPath(a.Src), cleanPath(a.Dest)
	if !a.CreateDestPath {
		if err := s.needParent(dest); err != nil {
			return err
		}
	}
	matches := []string{src}
	if a.AllowWildcard {
		if matches, err = wildcards(s.src, src, a.FollowSymlink); err != nil {
			return err
		}
		if len(matches) == 0 && !a.AllowEmptyWildcard {
			return fmt.Errorf("%s: no match: %w", src, fs.ErrNotExist)
		}
	}
	for _, m := range matches {
		if a.AttemptUnpack {
			done, err := s.unpack(ctx, m, dest, a.Timestamp)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if err := c.one(ctx, m, dest); err != nil {
			return err
		}
	}
	for _, r := range c.required {
		if !r.met {
			return &fs.PathError{Op: "find", Path: r.path, Err: fs.ErrNotExist}
		}
	}
	return nil
}

func (s *step) newCopier(a *graph.Copy) (*copier, error) {
	c := &copier{step: s, Copy: a, links: make(map[*layer.Inode]*layer.Inode)}
	if a.ModeStr != "" {
		set, err := mode.ParseWithUmask(a.ModeStr, 0)
		if err != nil {
			return nil, fmt.Errorf("mode %q: %w", a.ModeStr, err)
		}
		c.chmod = &set
	}
	var err error
	if c.include, err = matcher(a.IncludePatterns); err != nil {
		return nil, fmt.Errorf("include patterns %q: %w", a.IncludePatterns, err)
	}
	if c.exclude, err = matcher(a.ExcludePatterns); err != nil {
		return nil, fmt.Errorf("exclude patterns %q: %w", a.ExcludePatterns, err)
	}
	if len(a.IncludePatterns) > 0 && blank(a.IncludePatterns) && len(a.RequiredPaths) > 0 {
		return nil, fmt.Errorf("%q: not found: nothing is named to keep the parents of; say what to copy, such as dir/./* or *", a.RequiredPaths[0])
	}
	for _, p := range a.RequiredPaths {
		c.required = append(c.required, &required{path: path.Clean("/" + p)})
	}
	return c, nil
}

// matcher is nil when there is no pattern.
func matcher(patterns []string) (*patternmatcher.PatternMatcher, error) {
	if blank(patterns) {
		return nil, nil
	}
	return patternmatcher.New(patterns)
}

// blank tells whether no pattern says anything. "COPY --parents dir/./" makes one
// blank include pattern, of which BuildKit finds nothing and fails.
func blank(patterns []string) bool {
	return !slices.ContainsFunc(patterns, func(p string) bool { return strings.TrimSpace(p) != "" })
}

// needParent is an error when the directory of dest is not there.
func (s *step) needParent(dest string) error {
	at, _, err := s.editor.Resolve(dest, true)
	if err == nil {
		_, err = s.editor.Exact(path.Dir("/" + at))
	}
	if err != nil {
		return fmt.Errorf("destination %s: %w", dest, err)
	}
	return nil
}

// parents makes directories that the destination needs but the source does not name.
func (c *copier) parents(p string) (*tree.Dir, error) {
	m := uint32(0o755)
	if c.chmod == nil && c.Mode != -1 {
		m = uint32(c.Mode) & 0o777
	}
	return c.mkdirAll(p, m, c.Timestamp)
}

// one copies the source match to dest, or into it when that is called for.
func (c *copier) one(ctx context.Context, match, dest string) error {
	base := path.Base(match)
	match = path.Join("/", match)
	stat := c.src.Lstat
	if c.FollowSymlink {
		stat = c.src.Stat
	}
	src, err := stat(match)
	if err != nil {
		return err
	}
	up, name, err := c.target(src, base, dest)
	if err != nil {
		return err
	}
	if !src.IsDir() {
		c.meet(match)
		return c.file(src, up, name)
	}
	return c.top(ctx, src, match, up, name)
}

// target says where a source called base goes: the directory, made where it is
// missing, and the name in it; "" for the root itself.
func (c *copier) target(src *tree.File, base, dest string) (*tree.Dir, string, error) {
	contents := c.DirCopyContents && src.IsDir()
	inside := !contents && base != "/" && base != "."
	// What is copied into a directory leaves it in its place: a wildcard's many
	// matches need not look for it again.
	if c.into != nil && inside {
		return c.into, base, nil
	}
	at, there, err := c.reach(dest)
	if err != nil {
		return nil, "", err
	}
	if there != nil && there.IsDir() && inside {
		d, err := c.editor.Open(at)
		if path.Join("/", at) == path.Clean(dest) { // a symlink in dest might be replaced
			c.into = d
		}
		return d, base, err
	}
	if at == "" {
		return c.editor.OpenRoot(), "", nil
	}
	if there == nil && contents {
		if _, err := c.parents(at); err != nil {
			return nil, "", err
		}
	}
	if there != nil && inside && src.IsDir() {
		at = path.Join(at, base) // the file in the way is met below
	}
	up, err := c.parents(path.Dir("/" + at))
	return up, path.Base(at), err
}

// reach makes the directories above dest, or dest itself when it ends in a
// slash, and says where it really is and what is there.
func (c *copier) reach(dest string) (at string, there *tree.File, err error) {
	outer := dest
	if dir, base := path.Split(dest); base != "" && base != "." {
		outer = dir
	}
	if at, _, err = c.editor.Resolve(outer, true); err != nil {
		return "", nil, err
	}
	if _, err = c.parents(at); err != nil {
		return "", nil, err
	}
	return c.editor.Resolve(dest, true)
}

// top copies the directory that was named as the source. A directory that is
// already there in its place keeps owner and mode but takes its time.
func (c *copier) top(ctx context.Context, src *tree.File, base string, up *tree.Dir, name string) error {
	l := &level{src: src}
	if name == "" {
		l.dir = up
		return c.children(ctx, l, base, "", matched{})
	}
	there, err := c.clear(up, name)
	if err != nil {
		return err
	}
	i := c.inode(src.Inode)
	if there != nil {
		t := i.ModTime
		i = clone(there.Inode)
		if !src.Implied() || c.Timestamp != nil {
			i.ModTime = t
		}
	}
	if there == nil || !sameMeta(i, there.Inode) {
		up.Put(name, i)
	}
	if l.dir, err = up.Open(name); err != nil {
		return err
	}
	return c.children(ctx, l, base, "", matched{})
}

// clear looks what is in the place of a directory: a directory stays and is
// returned; anything else is an error, or goes when replacing was asked for.
func (c *copier) clear(d *tree.Dir, name string) (*tree.File, error) {
	there := d.Child(name)
	if there == nil || there.IsDir() {
		return there, nil
	}
	if !c.AlwaysReplaceExistingDestPaths {
		return nil, fmt.Errorf("cannot copy to non-directory: /%s", there.Path)
	}
	d.Remove(name)
	return nil, nil
}

// file copies something that is no directory. What is the same already stays.
func (c *copier) file(src *tree.File, d *tree.Dir, name string) error {
	if name == "" {
		return &fs.PathError{Op: "replace", Path: "/", Err: syscall.EISDIR}
	}
	there := d.Child(name)
	if there != nil && there.IsDir() && !c.AlwaysReplaceExistingDestPaths {
		return fmt.Errorf("cannot replace to directory /%s with file", there.Path)
	}
	i := c.links[src.Inode]
	if i == nil {
		i = c.inode(src.Inode)
	}
	if src.Kind == layer.Regular {
		c.links[src.Inode] = i
	}
	if there == nil || !same(there.Inode, i) {
		d.Put(name, i)
	}
	return nil
}
