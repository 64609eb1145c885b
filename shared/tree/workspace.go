package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/layer"
)

// Workspace is the directory in which one build keeps its layers. It belongs to
// one process and goes away with Close.
type Workspace struct {
	dir  string
	lock *os.File // nil where directories cannot be locked
	pack layer.PackOptions
	next atomic.Int64
	pool packPool

	// overlay keeps base layers unpacked, each in a directory of its own, as
	// overlayfs wants them. Without it their contents stay in tar files and
	// nothing needs the right to give files away.
	overlay, userXattr atomic.Bool
	record             *fakeroot.Record // nil where the disk says all

	prints layer.Fingerprints
	// Kept, where set, has base layers from before. It is set before the first layer is made.
	Kept Kept

	mu     sync.Mutex
	chains map[v1.Hash]*Layer // layers that were not made here
}

// NewWorkspace makes a workspace in a new directory below parent; pack says how
// blobs are written. What builds that were killed have left there is removed.
func NewWorkspace(parent string, pack layer.PackOptions) (*Workspace, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the builder's directory: %w", err)
	}
	dir, lock, left, err := claim(parent)
	for _, f := range left {
		// What cannot be removed hinders nobody, and the next build tries again.
		_ = errors.Join(os.RemoveAll(f.Name()), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("make a build's directory: %w", err)
	}
	w := &Workspace{dir: dir, lock: lock, pack: pack, chains: make(map[v1.Hash]*Layer)}
	w.pool.slots = make(chan struct{}, 1)
	for _, d := range []string{"l", "blobs", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("make a build's directory: %w", err), w.Close())
		}
	}
	return w, nil
}

// Close removes the workspace and all that is in it.
func (w *Workspace) Close() error {
	if err := os.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("remove the build's directory: %w", err)
	}
	if w.lock != nil {
		_ = w.lock.Close() // nothing was written; a second Close finds it closed
	}
	return nil
}

// UseOverlay keeps base layers unpacked, for overlayfs; userXattr as overlayfs
// in a user namespace wants them marked. Base layers that were fetched before are
// unpacked once more.
func (w *Workspace) UseOverlay(userXattr bool) {
	w.userXattr.Store(userXattr)
	w.overlay.Store(true)
}

// Clamp makes no file in a layer newer than t. It is called before the first layer is made.
func (w *Workspace) Clamp(t time.Time) { w.pack.Epoch = &t }

// Path is where the workspace is.
func (w *Workspace) Path() string { return w.dir }

// Layers is where NewDir makes directories.
func (w *Workspace) Layers() string { return filepath.Join(w.dir, "l") }

// NewDir makes an empty directory. Its name is short, since overlayfs takes all
// its lower directories in one page of options.
func (w *Workspace) NewDir() (string, error) {
	d := filepath.Join(w.Layers(), strconv.FormatInt(w.next.Add(1), 36))
	if err := os.Mkdir(d, 0o755); err != nil {
		return "", fmt.Errorf("make a layer's directory: %w", err)
	}
	return d, nil
}

// Spool makes an unnamed file for contents that nothing else keeps.
func (w *Workspace) Spool() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(w.dir, "tmp"), "spool-")
	if err != nil {
		return nil, fmt.Errorf("make a spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("unname a spool file: %w", err)
	}
	return f, nil
}

// FromTable makes a layer of a changeset whose contents lie elsewhere.
func (w *Workspace) FromTable(t *layer.Table) *Layer {
	l := &Layer{table: kept(t), content: w.reader(t)}
	l.dir.make = func(ctx context.Context) (string, error) {
		d, err := w.NewDir()
		if err != nil {
			return "", err
		}
		return d, layer.Checkout(ctx, t, d, w.Overlay())
	}
	l.blob.make = w.packer(t, w.pack)
	return l
}

// FromDir makes a layer of a directory in overlayfs format and its table.
func (w *Workspace) FromDir(dir string, t *layer.Table) *Layer {
	return &Layer{
		table: kept(t), dir: kept(dir), blob: promise[*layer.Blob]{make: w.packer(t, w.pack)}, content: w.reader(t),
	}
}

// Fingerprints are those of the workspace's own tables: what is asked of them
// need not be read for a layer's Content once more.
func (w *Workspace) Fingerprints() *layer.Fingerprints { return &w.prints }

// reader finds out what a layer says.
func (w *Workspace) reader(t *layer.Table) promise[string] {
	return promise[string]{make: func(ctx context.Context) (string, error) { return w.prints.Of(ctx, t) }}
}

// Overlay says how a table is written into a directory for overlayfs.
func (w *Workspace) Overlay() layer.CheckoutOptions {
	return layer.CheckoutOptions{Form: layer.Overlay, UserXattr: w.userXattr.Load()}
}

func (w *Workspace) packer(t *layer.Table, o layer.PackOptions) func(context.Context) (*layer.Blob, error) {
	return func(ctx context.Context) (*layer.Blob, error) {
		release, err := w.pool.take(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
		return layer.Pack(ctx, t, filepath.Join(w.dir, "blobs"), o)
	}
}

// packPool bounds how many layers are compressed at once, and with it the memory
// that takes: one layer's compressor keeps the processors busy by itself.
type packPool struct{ slots chan struct{} }

func (p *packPool) take(ctx context.Context) (release func(), err error) {
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
