package layer

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrTable is the error of bytes that are no table, or one of another version.
var ErrTable = errors.New("not a table of contents of this version")

// ParseTable reads what AppendTable wrote. content says where the bytes of a file
// are, by the first of its paths. The table is sealed.
//
// All of it is looked through at once, but a directory's nodes are made when
// somebody looks into it: of a large table most builds want little.
func ParseTable(b []byte, content func(path string, in *Inode) Content) (*Table, error) {
	if len(b) < len(codecVersion) || string(b[:len(codecVersion)]) != codecVersion {
		return nil, ErrTable
	}
	p := &parsed{s: string(b[len(codecVersion):]), content: content}
	links, err := p.index()
	if err != nil {
		return nil, err
	}
	if links {
		p.findLinked()
	}
	t := NewTable()
	d := &decoder{s: p.s}
	p.node(d, t.Root, "", new(int), new(int))
	return t, nil
}

// parsed is a table on disk of which it is known that it can be read.
type parsed struct {
	s       string
	content func(path string, in *Inode) Content
	dirs    []dirAt        // those that have children, parents first
	linked  map[int]*Inode // files with several names, by number
}

// dirAt is where a directory's children are.
type dirAt struct {
	start, end int // of the children, with all that is below them
	count      int
	inode      int // the number of the first inode there
	next       int // the directory that comes after all below this one
	inodes     int // how many inodes are there
}

// unparsed are children that are still to be made.
type unparsed struct {
	once sync.Once
	p    *parsed
	dir  int
	path string
}

// parse makes a node's children, where that is still to be done.
func (n *Node) parse() {
	if n.later != nil {
		n.later.once.Do(func() { n.later.p.children(n, n.later) })
	}
}

// children makes what is in one directory.
func (p *parsed) children(n *Node, l *unparsed) {
	at := p.dirs[l.dir]
	d := &decoder{s: p.s[at.start:at.end]}
	nodes := make([]Node, at.count)
	n.children = make(map[string]*Node, at.count)
	n.sorted = make([]*Node, at.count)
	dir, inode := l.dir+1, at.inode
	for i := range nodes {
		c := &nodes[i]
		p.node(d, c, l.path, &dir, &inode)
		n.children[c.Name] = c
		n.sorted[i] = c
	}
}

// node makes one node in the directory at above, and passes over what is below it.
// dir and inode count what has been met.
func (p *parsed) node(d *decoder, n *Node, above string, dir, inode *int) {
	flags := d.uint()
	n.Name = d.string()
	n.Whiteout, n.Opaque = flags&bitWhiteout != 0, flags&bitOpaque != 0
	path := func() string { return joined(above, n.Name) }
	switch {
	case flags&bitShared != 0:
		n.Inode = p.linked[int(d.uint())] //nolint:gosec // it was looked through
	case flags&bitInode != 0:
		in := d.inode(flags)
		if known := p.linked[*inode]; known != nil {
			in = known
		} else if flags&bitContent != 0 {
			in.Content = p.content(path(), in)
		}
		n.Inode = in
		*inode++
	}
	if d.uint() == 0 {
		return
	}
	n.later = &unparsed{p: p, dir: *dir, path: path()}
	at := p.dirs[*dir]
	d.s = d.s[at.end-at.start:]
	*dir, *inode = at.next, at.inode+at.inodes
}

func joined(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// index looks the table through, and tells whether any file has several names.
func (p *parsed) index() (links bool, err error) {
	x := &indexer{p: p, decoder: decoder{s: p.s}}
	x.node(0)
	if x.err == nil && x.s != "" {
		x.fail("%d bytes too many", len(x.s))
	}
	return x.links, x.err
}

type indexer struct {
	decoder
	p     *parsed
	kinds []Kind // of the inodes met
	links bool
}

// deepestTable is how deep directories may be in each other: more than a path
// has room for.
const deepestTable = 4096

// node looks through a node and all below it, and returns its name.
func (x *indexer) node(depth int) string {
	flags := x.uint()
	name := x.string()
	if (name == "") != (depth == 0) || depth > deepestTable {
		x.fail("a name is missing, or directories are too deep")
		return ""
	}
	isDir := true
	switch {
	case flags&bitShared != 0:
		at := x.uint()
		if at >= uint64(len(x.kinds)) {
			x.fail("a hard link leads nowhere")
			return ""
		}
		x.links, isDir = true, x.kinds[at] == Dir
	case flags&bitInode != 0:
		kind := x.skipInode(flags)
		x.kinds, isDir = append(x.kinds, kind), kind == Dir
	}
	isDir = isDir && flags&bitWhiteout == 0
	count := x.uint()
	if count > uint64(len(x.s)) || count > 0 && !isDir {
		x.fail("it breaks off")
		return ""
	}
	if count == 0 {
		return name
	}
	at := len(x.p.dirs)
	d := dirAt{start: len(x.p.s) - len(x.s), count: int(count), inode: len(x.kinds)}
	x.p.dirs = append(x.p.dirs, d)
	last := ""
	for range count {
		child := x.node(depth + 1)
		if x.err != nil {
			return ""
		}
		if child <= last {
			x.fail("names are out of order")
			return ""
		}
		last = child
	}
	d.end, d.next, d.inodes = len(x.p.s)-len(x.s), len(x.p.dirs), len(x.kinds)-d.inode
	x.p.dirs[at] = d
	return name
}

// skipInode is inode that makes nothing.
func (x *indexer) skipInode(flags uint64) Kind {
	kind := Kind(x.uint())
	x.id()
	x.id()
	x.id()
	x.int()
	x.int()
	x.uint()
	switch kind {
	case Symlink:
		x.string()
	case Char, Block:
		x.id()
		x.id()
	case Dir, Regular, Fifo:
	default:
		x.fail("kind %d", kind)
	}
	if flags&bitXattrs == 0 {
		return kind
	}
	n := x.uint()
	if n > uint64(len(x.s)) {
		x.fail("it breaks off")
		return kind
	}
	for range n {
		x.string()
		x.string()
	}
	return kind
}

// findLinked makes the inodes that have several names.
func (p *parsed) findLinked() {
	f := &linkFinder{p: p, decoder: decoder{s: p.s}, wanted: make(map[int]bool)}
	f.node("", f.want)
	p.linked = make(map[int]*Inode, len(f.wanted))
	f.s, f.inodes = p.s, 0
	f.node("", f.take)
}

type linkFinder struct {
	decoder
	p      *parsed
	inodes int
	wanted map[int]bool
}

func (f *linkFinder) want(flags uint64, _, _ string) {
	if flags&bitShared != 0 {
		f.wanted[int(f.uint())] = true //nolint:gosec // it was looked through
	} else {
		f.inode(flags)
	}
}

func (f *linkFinder) take(flags uint64, above, name string) {
	if flags&bitShared != 0 {
		f.uint()
		return
	}
	in := f.inode(flags)
	if f.wanted[f.inodes] {
		if flags&bitContent != 0 {
			in.Content = f.p.content(joined(above, name), in)
		}
		f.p.linked[f.inodes] = in
	}
	f.inodes++
}

// node calls inode where each node has its inode.
func (f *linkFinder) node(above string, inode func(flags uint64, above, name string)) {
	flags := f.uint()
	name := f.string()
	if flags&(bitShared|bitInode) != 0 {
		inode(flags, above, name)
	}
	if n := f.uint(); n > 0 {
		path := joined(above, name)
		for range n {
			f.node(path, inode)
		}
	}
}

type decoder struct {
	s   string
	err error
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

func (d *decoder) inode(flags uint64) *Inode {
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
	}
	if flags&bitXattrs != 0 {
		n := d.uint()
		in.Xattrs = make(map[string]string, min(n, uint64(len(d.s))))
		for range n {
			k := d.string()
			in.Xattrs[k] = d.string()
		}
	}
	return in
}
