// Package layer is one changeset of a root filesystem: its table of contents and the tar blob that carries it.
//
// A Table says everything about a layer but the bytes of its files, and where
// those can be read. Layers are read from and written to tar streams (OCI image
// specification, "Image Layer Filesystem Changeset") and directories in the
// format of overlayfs.
package layer

import (
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// Kind is the type of a file.
type Kind uint8

// The kinds of files. Sockets never enter a layer.
const (
	Dir Kind = iota
	Regular
	Symlink
	Char
	Block
	Fifo
)

// Inode is a file's metadata and content. Names that share an *Inode are hard
// links of each other. An Inode is immutable once it is in a Table that others
// can see; to change one, copy it.
type Inode struct {
	Kind     Kind
	Mode     uint32 // permission, setuid, setgid and sticky bits: 07777
	UID, GID uint32
	Size     int64 // of a regular file's content
	ModTime  time.Time
	Target   string // of a symlink
	DevMajor uint32
	DevMinor uint32
	Xattrs   map[string]string
	Content  Content // of a regular file; nil when Size is 0
}

// Content is where a file's bytes are. Open may be called any number of times,
// from any goroutine, for as long as the build lives.
type Content interface {
	Open() (io.ReadCloser, error)
}

// Node is a name in a layer's table of contents.
type Node struct {
	Name string
	// Inode is nil for a whiteout, and for a directory about which this layer
	// says nothing but that something below it changed.
	Inode *Inode
	// Whiteout removes the name from the layers below.
	Whiteout bool
	// Opaque hides all that the layers below have in this directory.
	Opaque bool

	children map[string]*Node
	sorted   []*Node   // nil after a change
	later    *unparsed // of a table on disk: the children, when somebody looks
}

// IsDir tells whether the node is a directory, even one that the layer only passes through.
func (n *Node) IsDir() bool {
	return !n.Whiteout && (n.Inode == nil || n.Inode.Kind == Dir)
}

// Child returns the node called name, or nil.
func (n *Node) Child(name string) *Node {
	n.parse()
	return n.children[name]
}

// Children returns the nodes below n by name. The slice is not to be changed.
func (n *Node) Children() []*Node {
	n.parse()
	if n.sorted == nil && len(n.children) > 0 {
		s := make([]*Node, 0, len(n.children))
		for _, c := range n.children {
			s = append(s, c)
		}
		slices.SortFunc(s, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
		n.sorted = s
	}
	return n.sorted
}

// Len is the number of children.
func (n *Node) Len() int {
	n.parse()
	return len(n.children)
}

// Set puts c below n, in place of a child of that name.
func (n *Node) Set(c *Node) {
	n.parse()
	if n.children == nil {
		n.children = make(map[string]*Node)
	}
	n.children[c.Name] = c
	n.sorted = nil
}

// Delete takes the child called name away.
func (n *Node) Delete(name string) {
	n.parse()
	delete(n.children, name)
	n.sorted = nil
}

// DeleteAll takes all children away.
func (n *Node) DeleteAll() { n.children, n.sorted, n.later = nil, nil, nil }

// Table is a layer's table of contents. It is built by one goroutine, sealed,
// and may then be read by many.
type Table struct {
	Root *Node // its Name is empty
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{Root: &Node{}} }

// Seal makes the table safe for concurrent reading: it sorts every directory.
func (t *Table) Seal() *Table {
	seal(t.Root)
	return t
}

func seal(n *Node) {
	for _, c := range n.Children() {
		seal(c)
	}
}

// Empty tells whether the layer changes nothing.
func (t *Table) Empty() bool {
	return t.Root.Inode == nil && !t.Root.Opaque && t.Root.Len() == 0
}

// Split gives the names in a path, cleaned and without what would leave the root.
func Split(p string) []string {
	p = path.Clean("/" + p)
	if p == "/" {
		return nil
	}
	return strings.Split(p[1:], "/")
}

// Lookup returns the node at p, or nil. It knows this layer only.
func (t *Table) Lookup(p string) *Node {
	n := t.Root
	for _, name := range Split(p) {
		if n = n.Child(name); n == nil {
			return nil
		}
	}
	return n
}

// Make returns the node at p, adding it and the directories on the way where
// they are missing. A whiteout or a file on the way becomes an opaque directory.
func (t *Table) Make(p string) *Node {
	n := t.Root
	for _, name := range Split(p) {
		if !n.IsDir() {
			n.Whiteout, n.Inode, n.Opaque = false, nil, true
		}
		c := n.Child(name)
		if c == nil {
			c = &Node{Name: name}
			n.Set(c)
		}
		n = c
	}
	return n
}

// Walk calls fn for the root and every node below it, parents before children,
// children by name. Paths are relative and slash-separated; the root's is "".
func (t *Table) Walk(fn func(p string, n *Node) error) error { return walk("", t.Root, fn) }

func walk(p string, n *Node, fn func(string, *Node) error) error {
	if err := fn(p, n); err != nil {
		return err
	}
	for _, c := range n.Children() {
		q := c.Name
		if p != "" {
			q = p + "/" + c.Name
		}
		if err := walk(q, c, fn); err != nil {
			return err
		}
	}
	return nil
}
