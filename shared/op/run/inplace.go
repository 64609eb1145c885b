package run

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/disposable"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// InPlaceRoots puts trees into the builder's own root, which may be replaced, one
// at a time. A tree that another step's takes the place of is put aside by
// renaming, and comes back the same way.
type InPlaceRoots struct {
	Workspace *tree.Workspace
	Root      *disposable.Root
	Guard     *disposable.Guard
	// Ignore names paths that never enter a layer.
	Ignore func(p string) bool

	turn   chan struct{} // holds one token, the right to use the root
	live   *plainDir     // in the root; nil when nothing is
	parked []*plainDir
	mirror mirror // in the root
}

// NewInPlaceRoots makes roots of one that is empty.
func NewInPlaceRoots(w *tree.Workspace, r *disposable.Root, g *disposable.Guard, ignore func(string) bool) *InPlaceRoots {
	i := &InPlaceRoots{Workspace: w, Root: r, Guard: g, Ignore: ignore, turn: make(chan struct{}, 1)}
	i.turn <- struct{}{}
	return i
}

// Open waits for its turn and brings the root to t.
func (i *InPlaceRoots) Open(ctx context.Context, t tree.Tree, view *tree.View) (Root, error) {
	select {
	case <-i.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	r := &inPlaceRoot{roots: i, view: view}
	if err := r.open(ctx, t); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	return r, nil
}

// switchTo makes the directory nearest to t the live one.
func (i *InPlaceRoots) switchTo(t tree.Tree) error {
	candidates := i.parked
	if i.live != nil {
		candidates = append([]*plainDir{i.live}, i.parked...)
	}
	best := nearest(candidates, t)
	if best >= 0 && candidates[best] == i.live {
		return nil
	}
	if i.live != nil {
		path, err := i.Root.Park()
		if err != nil {
			return err
		}
		i.live.path = path
		i.parked = append(i.parked, i.live)
		i.live = nil
	}
	if best < 0 {
		i.live = &plainDir{path: i.Root.Dir()}
		return nil
	}
	d := candidates[best]
	for n, p := range i.parked {
		if p == d {
			i.parked = append(i.parked[:n:n], i.parked[n+1:]...)
			break
		}
	}
	if err := i.Root.Unpark(d.path); err != nil {
		return err
	}
	d.path = i.Root.Dir()
	i.live = d
	return nil
}

// inPlaceRoot is the builder's root while a step has it.
type inPlaceRoot struct {
	roots  *InPlaceRoots
	view   *tree.View
	places *disposable.Places
	lay    *laying
	stubs  stubs
}

func (r *inPlaceRoot) open(ctx context.Context, t tree.Tree) error {
	i := r.roots
	var err error
	if r.places, err = i.Root.Places(); err != nil {
		return err
	}
	if err := r.faithful(); err != nil {
		return err
	}
	if i.mirror, err = mirrorOf(r.view, r.places); err != nil {
		return err
	}
	r.lay = &laying{workspace: i.Workspace, ignore: r.ignored, fit: r.fit, settled: r.settle}
	before := i.live
	if err := i.switchTo(t); err != nil {
		return err
	}
	if err := i.live.advance(ctx, t, r.view, r.lay); err != nil {
		return err
	}
	if i.live != before {
		if err := r.restoreAnchors(ctx); err != nil {
			return err
		}
	}
	if err := i.mirror.place(i.Root.Dir()); err != nil {
		return err
	}
	return i.Guard.Before()
}

func (r *inPlaceRoot) ignored(p string) bool {
	if _, ok := r.roots.mirror[p]; ok {
		return true
	}
	return r.places.Reserved(p) || r.roots.Ignore != nil && r.roots.Ignore(p)
}

// lent are mounts over which no image has anything to say: a runtime brings them.
var lent = []string{"proc", "sys", "dev", "run", "var/run", "tmp", "etc"}

// faithful refuses a step whose root cannot be shown: where the image has files,
// something else is mounted, or the builder is.
func (r *inPlaceRoot) faithful() error {
	for _, name := range append(r.places.Mounts(), r.places.Keeps()...) {
		f, err := r.view.Exact(name)
		if err != nil || !f.IsDir() || underAny(name, lent) || len(r.view.ReadDir(f)) == 0 {
			continue
		}
		return &Unsupported{
			"the image has files in /" + name,
			"in place a step cannot see them, since the builder's container has something of its own there; mount that elsewhere, or run the builder where --isolation=overlay works",
		}
	}
	for _, f := range r.view.ReadDir(r.view.Root()) {
		if !r.roots.Root.Shows(f.Path) {
			return unseen(f.Path)
		}
	}
	return nil
}

// unseen refuses a name in the root that no step could find.
func unseen(name string) error {
	top, _, _ := strings.Cut(name, "/")
	return &Unsupported{
		"the directory or file /" + top,
		"the container runtime has closed the builder's root directory to its user, where there is no link of that name; " +
			"make an image from the builder's with such a link (docs/kubernetes.md has how), or run the builder as root or where --isolation=overlay works",
	}
}

func underAny(name string, dirs []string) bool {
	for _, d := range dirs {
		if name == d || strings.HasPrefix(name, d+"/") {
			return true
		}
	}
	return false
}

// fit takes from a layer what is not to be put into the root: what lies where
// something stays or is mounted. A directory in which something does must stay a
// directory, whatever the layer says of it.
func (r *inPlaceRoot) fit(t *layer.Table) (*layer.Table, error) {
	out := layer.NewTable()
	if err := r.fitDir(out.Root, t.Root, ""); err != nil {
		return nil, err
	}
	return out, nil
}

func (r *inPlaceRoot) fitDir(to, from *layer.Node, dir string) error {
	to.Inode = from.Inode
	for _, c := range from.Children() {
		name := join(dir, c.Name)
		switch {
		case r.places.Reserved(name):
		case !r.places.Anchored(name):
			to.Set(c)
		default:
			d := &layer.Node{Name: c.Name}
			if !c.IsDir() {
				c = &layer.Node{Opaque: true} // a symlink, say: it would take away what is below
			}
			if err := r.fitDir(d, c, name); err != nil {
				return err
			}
			if err := r.enterable(d, name); err != nil {
				return err
			}
			to.Set(d)
		}
	}
	if from.Opaque {
		return r.hide(to, dir)
	}
	return nil
}

// enterable refuses a layer that has files for a directory which the runtime made,
// as root, on the way to a mount, while we are somebody else.
func (r *inPlaceRoot) enterable(d *layer.Node, name string) error {
	if !slices.ContainsFunc(d.Children(), func(c *layer.Node) bool { return !r.places.Anchored(join(name, c.Name)) }) {
		return nil
	}
	full := filepath.Join(r.roots.Root.Dir(), name)
	var st unix.Stat_t
	if err := unix.Stat(full, &st); err != nil || int(st.Uid) == os.Geteuid() {
		return nil //nolint:nilerr // it will be made, or can be opened
	}
	if unix.Faccessat(unix.AT_FDCWD, full, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil {
		return nil
	}
	return shut(name)
}

// shut refuses a directory that is the runtime's.
func shut(name string) error {
	return &Unsupported{
		"the image has files in /" + name,
		"there the container runtime has made a directory of its own, for what is mounted below, which user " + strconv.Itoa(os.Geteuid()) + " cannot write to; " +
			"mount that elsewhere, or, if a build was killed in this container, start a new one",
	}
}

// hide says of what is in an anchored directory that it is gone.
func (r *inPlaceRoot) hide(to *layer.Node, dir string) error {
	entries, err := os.ReadDir(filepath.Join(r.roots.Root.Dir(), dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := join(dir, e.Name())
		if to.Child(e.Name()) == nil && !r.places.Reserved(name) && !r.places.Anchored(name) {
			to.Set(&layer.Node{Name: e.Name(), Whiteout: true})
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// restoreAnchors gives the directories that never move the metadata that they
// have in the stage that is there now.
func (r *inPlaceRoot) restoreAnchors(ctx context.Context) error {
	t := layer.NewTable()
	t.Root.Inode = r.view.Root().Inode
	for _, name := range append(r.places.Mounts(), r.places.Keeps()...) {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if f, err := r.view.Exact(dir); err == nil && f.IsDir() {
				t.Make(dir).Inode = f.Inode
			}
		}
	}
	return layer.Checkout(ctx, t.Seal(), r.roots.Root.Dir(), r.roots.Workspace.Applied())
}

// settle takes from what a step has changed what is not the stage's: where
// something was mounted meanwhile, and what it wrote into a directory that stands
// in a symlink's place, which goes to where the link leads.
func (r *inPlaceRoot) settle(t *layer.Table, before *tree.View) (move func() error, err error) {
	root := r.roots.Root.Dir()
	if err := r.roots.mirror.remove(root); err != nil {
		return nil, err
	}
	places, err := r.roots.Root.Places()
	if err != nil {
		return nil, err
	}
	moved := map[string]string{}
	for _, name := range append(places.Mounts(), places.Keeps()...) {
		prune(t, name)
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if to, ok := follow(t, before, dir); ok {
				moved[dir] = to
			}
			forget(t, before, dir)
		}
	}
	if len(moved) == 0 {
		return nil, nil
	}
	return func() error {
		for from, to := range moved {
			if err := moveInto(root, from, to, places); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// forget drops a directory above something that stays or is mounted, where a
// table says no more of it than that it is there, or has another time: it must be
// there, and where it is the runtime's its time cannot be put back.
func forget(t *layer.Table, before *tree.View, dir string) {
	n := t.Lookup(dir)
	if n == nil || n.Inode == nil || !n.IsDir() || n.Len() > 0 {
		return
	}
	f, err := before.Exact(dir)
	if err != nil || f.IsDir() && !n.Opaque && sameRights(n.Inode, f.Inode) {
		prune(t, dir)
	}
}

// sameRights compares directories but for their times.
func sameRights(a, b *layer.Inode) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && maps.Equal(a.Xattrs, b.Xattrs)
}

// prune forgets what a table says of name and below.
func prune(t *layer.Table, name string) {
	dir, base := filepath.Split(name)
	if parent := t.Lookup(dir); parent != nil {
		parent.Delete(base)
	}
}

// follow moves what a table has below dir to where the symlink leads that the
// image has there, and says where that is.
func follow(t *layer.Table, before *tree.View, dir string) (target string, moved bool) {
	n := t.Lookup(dir)
	f, err := before.Exact(dir)
	if err != nil || f.IsDir() || n == nil {
		return "", false // nothing of the image's is there
	}
	prune(t, dir)
	if f.Kind != layer.Symlink || !n.IsDir() || n.Len() == 0 {
		return "", false
	}
	target, _, err = before.Resolve(dir, true)
	if err != nil {
		return "", false // a link to nowhere: nobody could have written there
	}
	graft(t.Make(target), n)
	return target, true
}

// graft puts what is below from below to.
func graft(to, from *layer.Node) {
	for _, c := range from.Children() {
		if old := to.Child(c.Name); old != nil && old.IsDir() && c.IsDir() {
			graft(old, c)
			continue
		}
		to.Set(c)
	}
}

// Disk is the root.
func (r *inPlaceRoot) Disk() sandbox.Root { return sandbox.Root{Dir: r.roots.Root.Dir()} }

// Place makes what a step needs to find.
func (r *inPlaceRoot) Place(ctx context.Context, points []Point) error {
	for _, p := range points {
		name := strings.Trim(p.Path, "/") // empty for a working directory that is the root
		if top, _, _ := strings.Cut(name, "/"); top != "" && !r.roots.Root.Shows(top) {
			return unseen(name)
		}
	}
	return r.stubs.place(ctx, r.roots.live, r.view, r.lay, points)
}

// Commit takes the changes and gives the root to the next step.
func (r *inPlaceRoot) Commit(ctx context.Context) (tree.Tree, error) {
	if err := r.roots.Guard.After(); err != nil {
		return tree.Tree{}, err
	}
	r.stubs.remove(r.roots.live)
	t, err := r.roots.live.changes(ctx, r.lay)
	if err != nil {
		return tree.Tree{}, err
	}
	r.roots.turn <- struct{}{}
	return t, nil
}

// Discard empties the root and gives it to the next step.
func (r *inPlaceRoot) Discard() error {
	defer func() { r.roots.turn <- struct{}{} }()
	// A failed step may have done harm, too.
	err := r.roots.Guard.After()
	parked := r.roots.parked
	r.roots.live, r.roots.parked = nil, nil
	_ = parked // Empty removes them: a failed step ends the build
	return errors.Join(err, r.roots.Root.Empty())
}
