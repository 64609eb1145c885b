package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/strake-build/strake/shared/framed"
)

// Fingerprints hashes what tables say: paths, kinds, modes, owners, extended
// attributes, link targets, hard links, whiteouts and bytes. Times never count.
// Each content is read once in its life, whatever the number of tables it is in.
// The zero value is ready, for any number of goroutines.
type Fingerprints struct{ contents sync.Map }

// Of returns the fingerprint of a sealed table. Contents that cannot be read are an error.
func (f *Fingerprints) Of(ctx context.Context, t *Table) (string, error) {
	sums, err := f.read(ctx, t)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	h := framed.New("strake changeset 1")
	first := make(map[*Inode]string)
	err = t.Walk(func(p string, n *Node) error {
		h.String(p).Int(flags(n))
		if n.Inode == nil || n.Whiteout {
			return nil
		}
		if other, ok := first[n.Inode]; ok && n.Inode.Kind != Dir {
			h.String("link").String(other)
			return nil
		}
		first[n.Inode] = p
		addInode(h, n.Inode)
		h.String(sums[n.Inode])
		return nil
	})
	return h.Sum(), err
}

// flags says what a node is besides its inode.
func flags(n *Node) (bits int64) {
	for i, set := range []bool{n.Whiteout, n.Opaque, n.Inode == nil} {
		if set {
			bits |= 1 << i
		}
	}
	return bits
}

func addInode(h *framed.Hash, i *Inode) {
	h.Int(int64(i.Kind)).Int(int64(i.Mode)).Int(int64(i.UID)).Int(int64(i.GID))
	h.String(i.Target).Int(int64(i.DevMajor)).Int(int64(i.DevMinor))
	h.Int(int64(len(i.Xattrs)))
	for _, name := range slices.Sorted(maps.Keys(i.Xattrs)) {
		h.String(name).String(i.Xattrs[name])
	}
	if i.Kind == Regular {
		h.Int(i.Size)
	}
}

// read hashes the contents of all regular files, several at once.
func (f *Fingerprints) read(ctx context.Context, t *Table) (map[*Inode]string, error) {
	var list []*Inode
	seen := make(map[*Inode]bool)
	_ = t.Walk(func(_ string, n *Node) error { // the function gives no error
		if i := n.Inode; i != nil && i.Kind == Regular && i.Size > 0 && !seen[i] {
			seen[i] = true
			list = append(list, i)
		}
		return nil
	})
	sums := make([]string, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for n, i := range list {
		g.Go(func() (err error) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			sums[n], err = f.content(i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make(map[*Inode]string, len(list))
	for n, i := range list {
		out[i] = sums[n]
	}
	return out, nil
}

// content hashes a file's bytes, or remembers.
func (f *Fingerprints) content(i *Inode) (string, error) {
	if i.Content == nil {
		return "", errNoContent
	}
	handle := reflect.TypeOf(i.Content).Kind() == reflect.Pointer
	if handle {
		if sum, ok := f.contents.Load(i.Content); ok {
			return sum.(string), nil //nolint:forcetypeassert // nothing else is stored
		}
	}
	r, err := i.Content.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", err
	}
	if n < i.Size {
		return "", sizeError(i.Size, io.ErrUnexpectedEOF)
	}
	if n > i.Size {
		return "", longer(i.Size)
	}
	sum := string(h.Sum(nil))
	if handle {
		f.contents.Store(i.Content, sum)
	}
	return sum, nil
}
