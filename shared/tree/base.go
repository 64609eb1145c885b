package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/layer"
)

// Base makes a tree of the layers of a finished image. Nothing is read before
// somebody looks inside or asks for a directory; equal stacks share their layers.
func (w *Workspace) Base(blobs []layer.Blob) Tree {
	var t Tree
	var chain v1.Hash
	for _, b := range blobs {
		chain = chainID(chain, b.DiffID)
		t = t.With(w.fetched(&Layer{base: true, chain: chain, content: kept("diff " + b.DiffID.String())}, b, t))
	}
	return t
}

// Made is a layer that an earlier build made, and its Content.
type Made struct {
	layer.Blob
	Content string
}

// Remembered puts layers of an earlier build on the base image on which they
// were made. Like the base, they are fetched when somebody looks inside; equal
// stacks share their layers.
func (w *Workspace) Remembered(base Tree, made []Made) Tree {
	t := base
	var chain v1.Hash
	if n := len(base.layers); n > 0 {
		chain = base.layers[n-1].chain
	}
	for _, m := range made {
		chain = chainID(chain, m.DiffID)
		chain.Algorithm = "made " + chain.Algorithm // the same as a base is another layer
		t = t.With(w.fetched(&Layer{chain: chain, content: kept(m.Content)}, m.Blob, t))
		chain.Algorithm = "sha256"
	}
	return t
}

// WindowsBase makes a tree of the layers of a Windows image, as its files are
// seen from inside.
func (w *Workspace) WindowsBase(blobs []layer.Blob) Tree {
	var t Tree
	for _, l := range w.Base(blobs).layers {
		t = t.With(l.mapped(layer.OfWindows))
	}
	return t
}

// ForWindows makes the layers of t that lie on a base image be written in Windows'
// form. On scratch there is nothing of Windows, and layers are as for others, as
// with BuildKit.
func (w *Workspace) ForWindows(ctx context.Context, t Tree) (Tree, error) {
	out, made := t.Split()
	if len(out.layers) == 0 {
		return t, nil
	}
	pack := w.pack
	pack.Windows = true
	for _, l := range made {
		table, err := l.Table(ctx)
		if err != nil {
			return t, err
		}
		out = out.With(&Layer{
			table: kept(table), blob: promise[*layer.Blob]{make: w.packer(table, pack)},
			content: promise[string]{make: l.content.get},
		})
	}
	return out, nil
}

// chainID names a stack of layers (OCI image specification, "Layer ChainID").
func chainID(below, diffID v1.Hash) v1.Hash {
	if below.Hex == "" {
		return diffID
	}
	sum := sha256.Sum256([]byte(below.String() + " " + diffID.String()))
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// fetched completes a layer of which only the blob is known, or finds it.
func (w *Workspace) fetched(l *Layer, b layer.Blob, below Tree) *Layer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, ok := w.chains[l.chain]; ok {
		return l
	}
	u := &unpacked{w: w, blob: b, below: below, chain: l.chain}
	l.blob = kept(&b)
	both := &promise[*unpacked]{make: func(ctx context.Context) (*unpacked, error) { return u, u.fetch(ctx) }}
	l.table.make = func(ctx context.Context) (*layer.Table, error) {
		u, err := both.get(ctx)
		if err != nil {
			return nil, err
		}
		return u.table, nil
	}
	l.dir.make = func(ctx context.Context) (string, error) {
		u, err := both.get(ctx)
		if err != nil {
			return "", err
		}
		return u.directory(ctx)
	}
	w.chains[l.chain] = l
	return l
}

// unpacked is a base layer that was fetched.
type unpacked struct {
	w     *Workspace
	blob  layer.Blob
	below Tree
	chain v1.Hash // of this layer and those below
	table *layer.Table
	dir   string
	// fromKept tells that the blob was not read.
	fromKept bool
}

// fetch takes the layer from where it was kept, or reads the blob once: into a
// directory of its own, or into a spool file.
func (u *unpacked) fetch(ctx context.Context) error {
	if u.w.Kept != nil {
		if found, err := u.kept(ctx); found || err != nil {
			return err
		}
	}
	return u.unpack(ctx, u.w.overlay.Load())
}

// directory is the layer in overlayfs format, if need be made for that.
func (u *unpacked) directory(ctx context.Context) (string, error) {
	if u.dir != "" {
		return u.dir, nil
	}
	if u.fromKept {
		// The table was enough until now. To unpack the blob is faster than to copy
		// file by file, and owners come out right.
		again := &unpacked{w: u.w, blob: u.blob, below: u.below}
		if err := again.unpack(ctx, true); err != nil {
			return "", err
		}
		return again.dir, nil
	}
	d, err := u.w.NewDir()
	if err != nil {
		return "", err
	}
	o := u.w.Overlay()
	o.Lower = u.lower(ctx)
	return d, layer.Checkout(ctx, u.table, d, o)
}

// unpack reads the blob.
func (u *unpacked) unpack(ctx context.Context, toDir bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("unpack layer %s: %w", u.blob.Digest, err)
		}
	}()
	o := layer.UnpackOptions{DiffID: u.blob.DiffID, UserXattr: u.w.userXattr.Load(), Lower: u.lower(ctx)}
	if toDir {
		if u.dir, err = u.w.NewDir(); err != nil {
			return err
		}
	} else if o.Spool, err = u.w.Spool(); err != nil {
		return err
	}
	open := func(context.Context) (io.ReadCloser, error) { return u.blob.Open() }
	if u.blob.OpenContext != nil {
		open = u.blob.OpenContext
	}
	r, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if u.table, _, err = layer.Unpack(ctx, r, u.dir, o); err != nil {
		return err
	}
	// What follows the end of the tar still counts for the digest.
	if _, err = io.Copy(io.Discard, r); err != nil {
		return err
	}
	u.table.Seal()
	return nil
}

// kept takes the layer from where it is unpacked already.
func (u *unpacked) kept(ctx context.Context) (bool, error) {
	k, err := u.w.Kept.Layer(ctx, KeptQuery{
		Blob: u.blob, Chain: u.chain, Overlay: u.w.overlay.Load(), UserXattr: u.w.userXattr.Load(),
		Lower: u.lower(ctx), Spool: u.w.Spool,
	})
	if k == nil || err != nil {
		return false, err
	}
	u.table, u.fromKept = k.Table, true
	if k.Dir != "" {
		u.dir, err = u.w.link(k.Dir)
	}
	return true, err
}

// lower answers for what a layer's own table does not hold: targets of hard links
// and the metadata of directories on the way. The layers below are looked into
// when the first question comes.
func (u *unpacked) lower(ctx context.Context) func(string) *layer.Inode {
	view := sync.OnceValue(func() *View {
		v, err := u.below.View(ctx)
		if err != nil {
			return NewView() // the build ends with that error elsewhere
		}
		return v
	})
	return func(p string) *layer.Inode {
		f, err := view().Exact(p)
		if err != nil {
			return nil
		}
		return f.Inode
	}
}
