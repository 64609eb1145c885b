package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
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

// ErrTable is the error of bytes that are no table, or one of another version.
var ErrTable = errors.New("not a table of contents of this version")

// ParseTable reads what AppendTable wrote. content says where the bytes of a file
// are, by the first of its paths. The table is sealed.
func ParseTable(b []byte, content func(path string, in *Inode) Content) (_ *Table, err error) {
	if len(b) < len(codecVersion) || string(b[:len(codecVersion)]) != codecVersion {
		return nil, ErrTable
	}
	d := &decoder{s: string(b[len(codecVersion):]), content: content}
	t := NewTable()
	d.node(t.Root, "", 0)
	if d.err == nil && d.s != "" {
		d.fail("%d bytes too many", len(d.s))
	}
	if d.err != nil {
		return nil, d.err
	}
	return t.Seal(), nil
}

type decoder struct {
	s       string
	inodes  []*Inode
	content func(string, *Inode) Content
	err     error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrTable, fmt.Sprintf(format, args...))
	}
	d.s = ""
}

func (d *decoder) uint() uint64 {
	var v uint64
	for shift := 0; shift < 64 && shift/7 < len(d.s); shift += 7 {
		c := d.s[shift/7]
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			d.s = d.s[shift/7+1:]
			return v
		}
	}
	d.fail("it breaks off")
	return 0
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1) //nolint:gosec // zigzag
}

func (d *decoder) id() uint32 {
	v := d.uint()
	if v > 1<<32-1 {
		d.fail("number %d", v)
		return 0
	}
	return uint32(v)
}

func (d *decoder) string() string {
	n := d.uint()
	if n > uint64(len(d.s)) {
		d.fail("it breaks off")
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

// deepestTable is how deep directories may be in each other: more than a path
// has room for.
const deepestTable = 4096

func (d *decoder) node(n *Node, path string, depth int) {
	flags := d.uint()
	name := d.string()
	if (name == "") != (depth == 0) || depth > deepestTable {
		d.fail("a name is missing, or directories are too deep")
		return
	}
	n.Name = name
	n.Whiteout, n.Opaque = flags&bitWhiteout != 0, flags&bitOpaque != 0
	switch {
	case flags&bitShared != 0:
		at := d.uint()
		if at >= uint64(len(d.inodes)) {
			d.fail("a hard link leads nowhere")
			return
		}
		n.Inode = d.inodes[at]
	case flags&bitInode != 0:
		n.Inode = d.inode(flags, path)
	}
	count := d.uint()
	if count > uint64(len(d.s)) || count > 0 && !n.IsDir() {
		d.fail("it breaks off")
		return
	}
	if count == 0 {
		return
	}
	nodes := make([]Node, count)
	n.children = make(map[string]*Node, count)
	n.sorted = make([]*Node, 0, count)
	last := ""
	for i := range nodes {
		c := &nodes[i]
		below := path
		if below != "" {
			below += "/"
		}
		d.child(c, below, depth+1)
		if d.err != nil {
			return
		}
		if c.Name <= last {
			d.fail("names are out of order")
			return
		}
		last = c.Name
		n.children[c.Name] = c
		n.sorted = append(n.sorted, c)
	}
}

// child reads a node whose name is not known before.
func (d *decoder) child(n *Node, prefix string, depth int) {
	rest := d.s
	d.uint()
	name := d.string()
	if d.err != nil {
		return
	}
	d.s = rest
	d.node(n, prefix+name, depth)
}

func (d *decoder) inode(flags uint64, path string) *Inode {
	in := &Inode{Kind: Kind(d.uint()), Mode: d.id(), UID: d.id(), GID: d.id(), Size: d.int()}
	sec, nsec := d.int(), d.uint()
	if nsec < 1e9 {
		in.ModTime = time.Unix(sec, int64(nsec))
	}
	switch in.Kind {
	case Symlink:
		in.Target = d.string()
	case Char, Block:
		in.DevMajor, in.DevMinor = d.id(), d.id()
	case Dir, Regular, Fifo:
	default:
		d.fail("kind %d", in.Kind)
	}
	if flags&bitXattrs != 0 {
		n := d.uint()
		if n > uint64(len(d.s)) {
			d.fail("it breaks off")
			return in
		}
		in.Xattrs = make(map[string]string, n)
		for range n {
			k := d.string()
			in.Xattrs[k] = d.string()
		}
	}
	if flags&bitContent != 0 {
		in.Content = d.content(path, in)
	}
	d.inodes = append(d.inodes, in)
	return in
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
