package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/layer"
)

// Kept has layers of base images that were unpacked before, by this program or
// another, on a volume that builds share.
type Kept interface {
	// Layer gives what there is of a layer; nil where there is nothing. It stays
	// for as long as the build lives.
	Layer(ctx context.Context, q KeptQuery) (*KeptLayer, error)
	// Ahead says which layers are going to be asked for.
	Ahead(ctx context.Context, layers []v1.Hash)
}

// KeptQuery asks for a layer.
type KeptQuery struct {
	Blob  layer.Blob
	Chain v1.Hash // of the layer on those below it (OCI image specification, "Layer ChainID")
	// Overlay asks for a directory, too; UserXattr says how it must be marked.
	Overlay, UserXattr bool
	// Lower answers for the layers below, as in layer.UnpackOptions.
	Lower func(path string) *layer.Inode
	// Spool makes a file for contents that must be unpacked after all.
	Spool func() (*os.File, error)
}

// KeptLayer is a layer that was kept.
type KeptLayer struct {
	Table *layer.Table // sealed; its contents can be read
	// Dir is the layer in overlayfs format, owners and all, as this process sees
	// it; "" where that is not so.
	Dir string
}

// ChainID names a layer with diffID on the stack that below names; the zero Hash is
// an empty stack (OCI image specification, "Layer ChainID").
func ChainID(below, diffID v1.Hash) v1.Hash { return chainID(below, diffID) }

// FromPromise makes a layer of a table alone that is yet to come, to look into.
func FromPromise(table func(context.Context) (*layer.Table, error)) *Layer {
	l := &Layer{table: promise[*layer.Table]{make: table}}
	l.dir.make = func(context.Context) (string, error) { return "", errors.ErrUnsupported }
	l.blob.make = func(context.Context) (*layer.Blob, error) { return nil, errors.ErrUnsupported }
	return l
}

// link gives a directory elsewhere a short name, as NewDir's are.
func (w *Workspace) link(dir string) (string, error) {
	d := filepath.Join(w.dir, "l", strconv.FormatInt(w.next.Add(1), 36))
	if err := os.Symlink(dir, d); err != nil {
		return "", fmt.Errorf("name a layer's directory: %w", err)
	}
	return d, nil
}
