package layer

import (
	"encoding/binary"
	"maps"
	"slices"
)

// A table on disk is its nodes, parents before children, children by name. Files
// with several names are written where the first one is; the others say which.

// codecVersion begins every table on disk. Another version is not read.
const codecVersion = "strake-table-1\n"

const (
	bitWhiteout = 1 << iota
	bitOpaque
	bitInode
	bitShared  // the inode was written before
	bitContent // the file has bytes
	bitXattrs
)

// AppendTable writes a table, without the contents of its files.
func AppendTable(b []byte, t *Table) []byte {
	e := &encoder{b: append(b, codecVersion...), seen: make(map[*Inode]uint64)}
	e.node(t.Root)
	return e.b
}

type encoder struct {
	b    []byte
	seen map[*Inode]uint64
}

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) string(s string) { e.uint(uint64(len(s))); e.b = append(e.b, s...) }

func (e *encoder) node(n *Node) {
	flags := uint64(0)
	set := func(on bool, bit uint64) {
		if on {
			flags |= bit
		}
	}
	in := n.Inode
	at, shared := e.seen[in]
	set(n.Whiteout, bitWhiteout)
	set(n.Opaque, bitOpaque)
	set(in != nil, bitInode)
	set(in != nil && shared, bitShared)
	set(in != nil && in.Content != nil, bitContent)
	set(in != nil && len(in.Xattrs) > 0, bitXattrs)
	e.uint(flags)
	e.string(n.Name)
	switch {
	case in == nil:
	case shared:
		e.uint(at)
	default:
		e.seen[in] = uint64(len(e.seen))
		e.inode(in)
	}
	e.uint(uint64(n.Len()))
	for _, c := range n.Children() {
		e.node(c)
	}
}

func (e *encoder) inode(in *Inode) {
	e.uint(uint64(in.Kind))
	e.uint(uint64(in.Mode))
	e.uint(uint64(in.UID))
	e.uint(uint64(in.GID))
	e.int(in.Size)
	if in.ModTime.IsZero() {
		e.int(0)
		e.uint(1e9) // no time
	} else {
		e.int(in.ModTime.Unix())
		e.uint(uint64(in.ModTime.Nanosecond()))
	}
	switch in.Kind {
	case Symlink:
		e.string(in.Target)
	case Char, Block:
		e.uint(uint64(in.DevMajor))
		e.uint(uint64(in.DevMinor))
	}
	if len(in.Xattrs) == 0 {
		return
	}
	e.uint(uint64(len(in.Xattrs)))
	for _, k := range sortedKeys(in.Xattrs) {
		e.string(k)
		e.string(in.Xattrs[k])
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
