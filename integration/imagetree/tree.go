// Package imagetree reads an image the slow, plain way, so that the images of two builders can be compared: it
// flattens the layers into one tree and describes tree, config and history as lines of text.
package imagetree

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Node is a file of an image. Names of one hard link share a Node.
type Node struct {
	Type   byte // one of tar's type flags; never TypeLink
	Mode   int64
	UID    int
	GID    int
	Size   int64
	Hash   string // of a regular file's content
	Link   string // target of a symbolic link
	Device string // major:minor
	Xattrs map[string]string
	MTime  int64
}

// Tree is a root file system: clean names without a leading slash, the root itself as ".".
type Tree map[string]*Node

// Flatten applies the layers of the image one over the other.
func Flatten(img v1.Image) (Tree, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	t := Tree{}
	for i, l := range layers {
		if err := t.apply(l); err != nil {
			return nil, fmt.Errorf("apply layer %d: %w", i, err)
		}
	}
	return t, nil
}

func (t Tree) apply(l v1.Layer) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	tr := tar.NewReader(rc)
	fresh := map[string]bool{}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, rc) // so that the digest is verified to the end
			return err
		}
		if err != nil {
			return err
		}
		if err := t.entry(h, tr, fresh); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

// entry applies one entry. Fresh are the names that this layer has brought: an opaque marker spares them.
func (t Tree) entry(h *tar.Header, r io.Reader, fresh map[string]bool) error {
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	if name == ".." || strings.HasPrefix(name, "../") {
		return errors.New("name leaves the root")
	}
	dir, base := path.Split(name)
	if base == ".wh..wh..opq" {
		t.removeBelow(path.Clean(dir), fresh)
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		t.remove(path.Join(dir, hidden))
		return nil
	}
	node, err := t.node(h, r)
	if err != nil {
		return err
	}
	if old := t[name]; old != nil && (old.Type != tar.TypeDir || node.Type != tar.TypeDir) {
		t.remove(name)
	}
	t[name], fresh[name] = node, true
	t.addParents(name)
	return nil
}

func (t Tree) addParents(name string) {
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		if t[d] == nil {
			t[d] = &Node{Type: tar.TypeDir, Mode: 0o755}
		}
	}
}

func (t Tree) remove(name string) {
	delete(t, name)
	t.removeBelow(name, nil)
}

func (t Tree) removeBelow(dir string, spare map[string]bool) {
	prefix := dir + "/"
	maps.DeleteFunc(t, func(name string, _ *Node) bool {
		below := strings.HasPrefix(name, prefix) || dir == "." && name != "."
		return below && !spare[name]
	})
}

func (t Tree) node(h *tar.Header, r io.Reader) (*Node, error) {
	if h.Typeflag == tar.TypeLink {
		target := t[path.Clean(strings.TrimLeft(h.Linkname, "/"))]
		if target == nil {
			return nil, fmt.Errorf("hard link to %q, which is not there", h.Linkname)
		}
		return target, nil
	}
	n := &Node{
		Type: h.Typeflag, Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid, Size: h.Size,
		Xattrs: xattrs(h), MTime: h.ModTime.Unix(),
	}
	switch h.Typeflag {
	case tar.TypeReg:
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			return nil, err
		}
		n.Hash = hex.EncodeToString(sum.Sum(nil))
	case tar.TypeSymlink:
		n.Link, n.Mode = h.Linkname, 0o777
	case tar.TypeChar, tar.TypeBlock:
		n.Device = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	case tar.TypeDir, tar.TypeFifo:
	default:
		return nil, fmt.Errorf("entry of type %q", h.Typeflag)
	}
	return n, nil
}

func xattrs(h *tar.Header) map[string]string {
	found := map[string]string{}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok && name != "security.selinux" {
			found[name] = v
		}
	}
	return found
}

// Names lists the tree's names, sorted.
func (t Tree) Names() []string { return slices.Sorted(maps.Keys(t)) }
