// Package unpacked keeps the layers of a store unpacked, so that a build starts its first step without unpacking anything.
//
// What is kept of a layer is its table of contents, and a directory in the format
// of overlayfs. The table is a note of the blob, the directory a tree of it, with a
// fingerprint of every file: inode, size, owner, mode and time of change, which
// nobody can set. A directory whose fingerprint is another, because somebody
// touched it, copied it or sees other owners, is not used as it is; what can still
// be told to be right of it is, and the rest comes from the blob.
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
	"strconv"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/snapshot"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/tree"
)

// Keeper keeps layers, and gives them to builds. It holds on to what it gave until
// it is closed.
type Keeper struct {
	Store *store.Store
	// UserXattr is how overlayfs of this process wants directories marked.
	UserXattr bool
	// Trees keeps directories, too, and not tables alone.
	Trees bool
	// Notice is told what is not as it was; nil means nobody listens.
	Notice func(line string)

	mu    sync.Mutex
	open  []*store.Tree
	ahead map[string]func() (snapshot.Fingerprint, error) // by directory
	looks sync.WaitGroup
}

var _ tree.Kept = (*Keeper)(nil)

// files is the kind of trees whose owners are not on the disk; overlay begins the
// kind of those that overlayfs can use.
const (
	tableNote = "table"
	files     = "files"
	overlay   = "overlay-"
)

// view names how this process sees owners and marks: a directory made by one is
// right for all that have the same.
func view(userXattr bool) string {
	h := sha256.New()
	for _, p := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(p)
		if err != nil {
			b = []byte(err.Error())
		}
		h.Write(b)
	}
	h.Write([]byte(strconv.FormatBool(userXattr)))
	return overlay + hex.EncodeToString(h.Sum(nil))[:8]
}

// note is what is noted of a tree.
type note struct {
	Content string `json:"content"` // fingerprints
	Owners  string `json:"owners"`
	Files   int    `json:"files"`
	Table   string `json:"table"` // digest of the table that it belongs to
	View    string `json:"view"`  // of whoever made it
}

// suffixOf marks what is right for one stack of layers only: a layer that speaks of
// directories or files in those below it.
func suffixOf(chain v1.Hash) string { return "-" + chain.Hex[:min(16, len(chain.Hex))] }

// parallel is how many layers are made at once.
const parallel = 4

// Keep makes what is missing of the layers of an image, several at once, the bottom
// first: who asks about what is below waits for that.
func (k *Keeper) Keep(ctx context.Context, blobs []layer.Blob) error {
	var below tree.Tree
	var chain v1.Hash
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, b := range blobs {
		chain = tree.ChainID(chain, b.DiffID)
		m := &kept{done: make(chan struct{})}
		of, lower := chain, below
		g.Go(func() error {
			defer close(m.done)
			if m.table, m.err = k.keep(ctx, b, of, lower); m.err != nil {
				m.err = fmt.Errorf("unpack layer %s: %w", b.Digest, m.err)
			}
			return m.err
		})
		below = below.With(tree.FromPromise(m.wait))
	}
	return g.Wait()
}

// kept is a layer that is being made.
type kept struct {
	done  chan struct{}
	table *layer.Table
	err   error
}

func (m *kept) wait(ctx context.Context) (*layer.Table, error) {
	select {
	case <-m.done:
		return m.table, m.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (k *Keeper) keep(ctx context.Context, b layer.Blob, chain v1.Hash, below tree.Tree) (*layer.Table, error) {
	lower := &lowerOf{ctx: ctx, below: below}
	q := tree.KeptQuery{Blob: b, Chain: chain, Overlay: true, UserXattr: k.UserXattr, Lower: lower.inode}
	if f := k.find(ctx, q); f != nil && (f.exact || f.own || !k.Trees) {
		return f.table, nil
	}
	m := &making{k: k, b: b, chain: chain, lower: lower}
	if !k.Trees {
		t, _, err := m.read(ctx, "")
		if err != nil {
			return nil, err
		}
		return t, k.Store.PutNote(b.Digest, tableNote+m.suffix, m.table)
	}
	if err := k.Store.PutTree(b.Digest, func(dir string) (string, []byte, error) { return m.fill(ctx, dir) }); err != nil {
		return nil, err
	}
	if err := k.Store.PutNote(b.Digest, tableNote+m.suffix, m.table); err != nil {
		return nil, err
	}
	f := k.find(ctx, q)
	if f == nil {
		return nil, fmt.Errorf("it was kept, and is not there: %w", fs.ErrNotExist)
	}
	return f.table, nil
}

// making is a layer being unpacked to be kept.
type making struct {
	k     *Keeper
	b     layer.Blob
	chain v1.Hash
	lower *lowerOf

	table  []byte
	suffix string
}

// read unpacks the blob into a directory, or reads its table where that is "".
func (m *making) read(ctx context.Context, dir string) (_ *layer.Table, lost int64, err error) {
	r, err := m.b.Open()
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	t, st, err := layer.Unpack(ctx, r, dir, layer.UnpackOptions{
		DiffID: m.b.DiffID, UserXattr: m.k.UserXattr, Unprivileged: true, Lower: m.lower.inode,
	})
	if err = errors.Join(err, m.lower.err); err != nil {
		return nil, 0, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // the verifying reader's last word
		return nil, 0, err
	}
	if m.lower.asked || passes(t) {
		m.suffix = suffixOf(m.chain)
	}
	m.table = layer.AppendTable(nil, t)
	return t, st.Lost, nil
}

func (m *making) fill(ctx context.Context, dir string) (kind string, noted []byte, err error) {
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // others read it
		return "", nil, err
	}
	_, lost, err := m.read(ctx, dir)
	if err != nil {
		return "", nil, err
	}
	kind = view(m.k.UserXattr)
	if lost > 0 || os.Geteuid() != 0 {
		kind = files
	}
	noted, err = m.describe(ctx, dir)
	return kind + m.suffix, noted, err
}

func (m *making) describe(ctx context.Context, dir string) ([]byte, error) {
	f, err := snapshot.Fingerprints(ctx, dir)
	if err == nil {
		err = snapshot.Settle(ctx) // what touches a file from now on is seen
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(m.table)
	return json.Marshal(note{
		Content: hex.EncodeToString(f.Content[:]), Owners: hex.EncodeToString(f.Owners[:]), Files: f.Files,
		Table: hex.EncodeToString(sum[:]), View: view(m.k.UserXattr),
	})
}

// lowerOf answers for the layers below one that is being unpacked. It knows whether
// anybody asked, and whether it could answer.
type lowerOf struct {
	ctx   context.Context //nolint:containedctx // of one unpacking
	below tree.Tree

	once  sync.Once
	view  *tree.View
	asked bool
	err   error
}

func (l *lowerOf) inode(p string) *layer.Inode {
	l.once.Do(func() {
		l.asked = true
		l.view, l.err = l.below.View(l.ctx)
	})
	if l.err != nil {
		return nil
	}
	f, err := l.view.Exact(p)
	if err != nil {
		return nil
	}
	return f.Inode
}

// passes tells whether a layer has directories of which it says nothing itself.
func passes(t *layer.Table) bool {
	stop := errors.New("found")
	return t.Walk(func(p string, n *layer.Node) error {
		if p != "" && n.IsDir() && n.Inode == nil {
			return stop
		}
		return nil
	}) != nil
}

// Close lets go of the directories that were given away.
func (k *Keeper) Close() error {
	k.looks.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, t := range k.open {
		errs = append(errs, t.Close())
	}
	k.open = nil
	return errors.Join(errs...)
}

func (k *Keeper) notice(line string) {
	if k.Notice != nil {
		k.Notice(line)
	}
}
