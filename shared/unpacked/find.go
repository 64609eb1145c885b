package unpacked

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/tree"
)

// Layer gives what is kept of a layer.
func (k *Keeper) Layer(ctx context.Context, q tree.KeptQuery) (*tree.KeptLayer, error) {
	f := k.find(ctx, q)
	if f == nil {
		return nil, context.Cause(ctx)
	}
	l := &tree.KeptLayer{Table: f.table}
	if f.exact && q.Overlay {
		l.Dir = f.dir
	}
	return l, context.Cause(ctx)
}

// found is what is kept of a layer.
type found struct {
	table *layer.Table
	dir   string // to read files from; "" for none
	exact bool   // dir is one for overlayfs
	own   bool   // dir is as good as this process can make it
}

// find looks for a layer's table, and for a directory that is what it was; nil for
// nothing.
func (k *Keeper) find(ctx context.Context, q tree.KeptQuery) *found {
	for _, suffix := range []string{"", suffixOf(q.Chain)} {
		raw, err := k.Store.Note(q.Blob.Digest, tableNote+suffix)
		if err != nil {
			continue
		}
		f := k.directory(ctx, q, raw, suffix)
		lazy := &lazy{ctx: context.WithoutCancel(ctx), q: q}
		f.table, err = layer.ParseTable(raw, func(path string, _ *layer.Inode) layer.Content {
			if f.dir == "" {
				return &packed{lazy, path}
			}
			return &file{at: layer.File{Dir: f.dir, Path: path}, lazy: lazy}
		})
		if err == nil { // else of another version of this program
			return f
		}
	}
	return nil
}

// directory finds a tree of the layer that nobody has touched: one that overlayfs
// can use, or else one to read files from.
func (k *Keeper) directory(ctx context.Context, q tree.KeptQuery, table []byte, suffix string) *found {
	mine := view(q.UserXattr)
	kinds := []string{mine + suffix, files + suffix}
	for _, kind := range k.Store.Trees(q.Blob.Digest) {
		if !slices.Contains(kinds, kind) && strings.HasSuffix(kind, suffix) {
			kinds = append(kinds, kind)
		}
	}
	for _, kind := range kinds {
		t, err := k.Store.Tree(q.Blob.Digest, kind)
		if err != nil {
			continue
		}
		n, state := k.check(ctx, t, table)
		if context.Cause(ctx) != nil {
			_ = t.Close()
			break // nothing can be said about it
		}
		if state == other || state == closed {
			_ = t.Close()
			if n.View == mine && state == other {
				k.notice(fmt.Sprintf("layer %s: %s is not what it was, and is not used", q.Blob.Digest, t.Dir))
				_ = k.Store.DropTree(q.Blob.Digest, kind) // where it cannot be, it stays unused
			}
			continue
		}
		k.mu.Lock()
		k.open = append(k.open, t)
		k.mu.Unlock()
		return &found{dir: t.Dir, exact: kind == mine+suffix && state == same, own: n.View == mine}
	}
	return &found{}
}

// state is what became of a tree.
type state int

const (
	same   state = iota
	owners       // other owners are seen from here, the files are the same
	other        // it is not what it was
	closed       // this process may not look
)

func (k *Keeper) check(ctx context.Context, t *store.Tree, table []byte) (n note, s state) {
	if json.Unmarshal(t.Note, &n) != nil {
		return n, other
	}
	if sum := sha256.Sum256(table); hex.EncodeToString(sum[:]) != n.Table {
		return n, other
	}
	f, err := k.fingerprint(ctx, t.Dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return n, closed
	case err != nil, hex.EncodeToString(f.Content[:]) != n.Content:
		return n, other
	case hex.EncodeToString(f.Owners[:]) != n.Owners:
		return n, owners
	}
	return n, same
}

// lazy unpacks a blob when the first of its files is opened that cannot be had
// otherwise.
type lazy struct {
	ctx context.Context //nolint:containedctx // of the build, for a question that comes later
	q   tree.KeptQuery

	once  sync.Once
	table *layer.Table
	err   error
}

func (l *lazy) content(path string) (layer.Content, error) {
	l.once.Do(func() { l.table, l.err = l.unpack() })
	if l.err != nil {
		return nil, l.err
	}
	n := l.table.Lookup(path)
	if n == nil || n.Inode == nil || n.Inode.Content == nil {
		return nil, fmt.Errorf("layer %s has no file %s: %w", l.q.Blob.Digest, path, store.ErrIntegrity)
	}
	return n.Inode.Content, nil
}

func (l *lazy) unpack() (_ *layer.Table, err error) {
	if l.q.Spool == nil {
		return nil, errors.New("there is no place to unpack it")
	}
	spool, err := l.q.Spool()
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return l.q.Blob.Open() }
	if l.q.Blob.OpenContext != nil {
		open = func() (io.ReadCloser, error) { return l.q.Blob.OpenContext(l.ctx) }
	}
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	t, _, err := layer.Unpack(l.ctx, r, "", layer.UnpackOptions{DiffID: l.q.Blob.DiffID, Spool: spool, Lower: l.q.Lower})
	if err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", l.q.Blob.Digest, err)
	}
	_, err = io.Copy(io.Discard, r)
	return t, err
}

// packed is a file that is only in the blob.
type packed struct {
	lazy *lazy
	path string
}

func (p *packed) Open() (io.ReadCloser, error) {
	c, err := p.lazy.content(p.path)
	if err != nil {
		return nil, err
	}
	return c.Open()
}

// file is one in a directory; where this process may not read it, it comes from the blob.
type file struct {
	at   layer.File
	lazy *lazy
}

var _ layer.FileContent = (*file)(nil)

// Open opens the file for reading.
func (f *file) Open() (io.ReadCloser, error) {
	r, err := f.at.Open()
	if !errors.Is(err, fs.ErrPermission) {
		return r, err
	}
	return (&packed{f.lazy, f.at.Path}).Open()
}

// File opens the file for copying by the kernel.
func (f *file) File() (*os.File, int64, int64, error) {
	r, off, n, err := f.at.File()
	if !errors.Is(err, fs.ErrPermission) {
		return r, off, n, err
	}
	c, err := f.lazy.content(f.at.Path)
	if err != nil {
		return nil, 0, 0, err
	}
	fc, ok := c.(layer.FileContent)
	if !ok {
		return nil, 0, 0, errors.ErrUnsupported
	}
	return fc.File()
}
