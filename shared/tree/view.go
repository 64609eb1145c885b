package tree

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/strake-build/strake/shared/layer"
)

// View is the file system that a stack of layers makes, read from their tables
// of contents. Nothing is merged beforehand: a question costs a look into each
// layer that has something to say. A View of sealed tables may be read by many
// goroutines at once.
type View struct {
	tables []*layer.Table // top first
}

// NewView lays tables over each other, the last on top.
func NewView(tables ...*layer.Table) *View {
	v := &View{tables: slices.Clone(tables)}
	slices.Reverse(v.tables)
	return v
}

// File is a name in a View with what it stands for.
type File struct {
	Path string // relative and clean; "" for the root
	*layer.Inode
	plain bool  // a directory of which no layer says more than that it is there
	stack stack // of a directory
}

// IsDir tells whether f is a directory.
func (f *File) IsDir() bool { return f.Kind == layer.Dir }

// Implied tells whether f is a directory of which no layer says more than that it is there.
func (f *File) Implied() bool { return f.plain }

// stack is a directory: the nodes of all layers that have a part in it, top first.
type stack []*layer.Node

// plainDir is the inode of a directory of which no layer says more than that it is there.
func plainDir() *layer.Inode {
	return &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: time.Unix(0, 0)}
}

func (v *View) root() *File {
	f := &File{}
	for _, t := range v.tables {
		f.stack = append(f.stack, t.Root)
		if f.Inode == nil {
			f.Inode = t.Root.Inode
		}
		if t.Root.Opaque {
			break
		}
	}
	if f.Inode == nil {
		f.Inode, f.plain = plainDir(), true
	}
	return f
}

// child finds name in the directory: nil when it is not there.
func (s stack) child(name string) *File {
	var f *File
	for _, d := range s {
		n := d.Child(name)
		if n == nil {
			continue
		}
		if n.Whiteout {
			break
		}
		if !n.IsDir() {
			if f == nil {
				return &File{Inode: n.Inode}
			}
			break
		}
		if f == nil {
			f = &File{}
		}
		f.stack = append(f.stack, n)
		if f.Inode == nil {
			f.Inode = n.Inode
		}
		if n.Opaque {
			break
		}
	}
	if f != nil && f.Inode == nil {
		f.Inode, f.plain = plainDir(), true
	}
	return f
}

// names lists what is in the directory, sorted.
func (s stack) names() []string {
	if len(s) == 1 {
		var out []string
		for _, n := range s[0].Children() {
			if !n.Whiteout {
				out = append(out, n.Name)
			}
		}
		return out
	}
	seen := make(map[string]bool)
	for _, d := range s {
		for _, n := range d.Children() {
			if _, ok := seen[n.Name]; !ok {
				seen[n.Name] = !n.Whiteout
			}
		}
	}
	maps.DeleteFunc(seen, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(seen))
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// maxLinks is how many symlinks one path may go through, as in the kernel (path_resolution(7)).
const maxLinks = 255

// Lstat returns what is at p without following a symlink there; those on the
// way are followed, inside the root. The error is fs.ErrNotExist or syscall.ENOTDIR
// or syscall.ELOOP in a *fs.PathError.
func (v *View) Lstat(p string) (*File, error) { return v.must("lstat", p, false) }

// Stat is Lstat that follows a symlink at p, too.
func (v *View) Stat(p string) (*File, error) { return v.must("stat", p, true) }

func (v *View) must(op, p string, follow bool) (*File, error) {
	f, rest, err := v.walk(p, follow)
	if err == nil && rest != "" {
		err = fs.ErrNotExist
		if !f.IsDir() {
			err = syscall.ENOTDIR
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: "/" + strings.TrimPrefix(p, "/"), Err: err}
	}
	return f, nil
}

// Resolve says which path p really is, with all symlinks followed inside the
// root (the last one only when follow is set). Where p leads beyond what is
// there, the missing names are kept; f is nil then. Nothing can be made below a
// file: that is syscall.ENOTDIR.
func (v *View) Resolve(p string, follow bool) (resolved string, f *File, err error) {
	f, rest, err := v.walk(p, follow)
	if err != nil {
		return "", nil, &fs.PathError{Op: "resolve", Path: "/" + strings.TrimPrefix(p, "/"), Err: err}
	}
	if rest == "" {
		return f.Path, f, nil
	}
	if !f.IsDir() {
		return "", nil, &fs.PathError{Op: "resolve", Path: "/" + strings.TrimPrefix(p, "/"), Err: syscall.ENOTDIR}
	}
	return join(f.Path, rest), nil, nil
}

// walk goes along p as far as it can: the last file met, and what is left of the path.
func (v *View) walk(p string, follow bool) (*File, string, error) {
	at := []*File{v.root()}
	todo := splitRaw(p)
	links := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		cur := at[len(at)-1]
		if name == ".." {
			if len(at) > 1 {
				at = at[:len(at)-1]
			}
			continue
		}
		if !cur.IsDir() {
			return cur, strings.Join(append([]string{name}, todo...), "/"), nil
		}
		f := cur.stack.child(name)
		if f == nil {
			return cur, strings.Join(cleanRest(append([]string{name}, todo...)), "/"), nil
		}
		f.Path = join(cur.Path, name)
		if f.Kind == layer.Symlink && (follow || len(todo) > 0) {
			if links++; links > maxLinks {
				return nil, "", syscall.ELOOP
			}
			if strings.HasPrefix(f.Target, "/") {
				at = at[:1]
			}
			todo = append(splitRaw(f.Target), todo...)
			continue
		}
		at = append(at, f)
	}
	return at[len(at)-1], "", nil
}

// splitRaw gives the names in p in order, ".." kept.
func splitRaw(p string) []string {
	var out []string
	for name := range strings.SplitSeq(p, "/") {
		if name != "" && name != "." {
			out = append(out, name)
		}
	}
	return out
}

// cleanRest takes ".." out of names that are not there yet: "a/../b" is "b".
func cleanRest(names []string) []string {
	out := names[:0:0]
	for _, n := range names {
		if n == ".." {
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			continue
		}
		out = append(out, n)
	}
	return out
}

// ReadDir lists the directory f, by name.
func (v *View) ReadDir(f *File) []*File {
	names := f.stack.names()
	out := make([]*File, 0, len(names))
	for _, name := range names {
		if c := f.stack.child(name); c != nil {
			c.Path = join(f.Path, name)
			out = append(out, c)
		}
	}
	return out
}

// Child returns the entry of the directory f called name, or nil.
func (v *View) Child(f *File, name string) *File {
	c := f.stack.child(name)
	if c != nil {
		c.Path = join(f.Path, name)
	}
	return c
}

// Root returns the root directory.
func (v *View) Root() *File { return v.root() }

// Walk calls fn for f and all below it, parents first, by name. An fs.SkipDir
// from fn for a directory leaves out what is in it.
func (v *View) Walk(f *File, fn func(*File) error) error {
	err := v.visit(f, fn)
	if err == fs.SkipDir { //nolint:errorlint // as in io/fs, only the value itself counts
		return nil
	}
	return err
}

func (v *View) visit(f *File, fn func(*File) error) error {
	if err := fn(f); err != nil || !f.IsDir() {
		return err
	}
	for _, c := range v.ReadDir(f) {
		if err := v.Walk(c, fn); err != nil {
			return err
		}
	}
	return nil
}

// ReadFile returns the content of the regular file at p, symlinks followed
// inside the root. A file larger than limit bytes is an error.
func (v *View) ReadFile(p string, limit int64) ([]byte, error) {
	f, err := v.Stat(p)
	if err != nil {
		return nil, err
	}
	if f.Kind != layer.Regular {
		return nil, &fs.PathError{Op: "read", Path: "/" + f.Path, Err: fmt.Errorf("not a regular file")}
	}
	if f.Size > limit {
		return nil, &fs.PathError{Op: "read", Path: "/" + f.Path, Err: fmt.Errorf("%d bytes: more than the limit of %d", f.Size, limit)}
	}
	return ReadAll(f.Inode)
}

// ReadAll returns the content of a regular file.
func ReadAll(i *layer.Inode) ([]byte, error) {
	if i.Content == nil {
		return nil, nil
	}
	r, err := i.Content.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, i.Size+1))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return data, err
}

// Exact returns what is at p when no part of p is a symlink; a symlink on the
// way is fs.ErrNotExist's sibling syscall.ENOTDIR, as with O_NOFOLLOW.
func (v *View) Exact(p string) (*File, error) {
	f := v.root()
	for _, name := range layer.Split(p) {
		if !f.IsDir() {
			return nil, syscall.ENOTDIR
		}
		c := f.stack.child(name)
		if c == nil {
			return nil, fs.ErrNotExist
		}
		c.Path = join(f.Path, name)
		f = c
	}
	return f, nil
}
