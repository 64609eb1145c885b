package layer

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteOptions says how a table becomes a tar.
type WriteOptions struct {
	// Epoch, where set, is the latest time that a file may have: what is newer
	// gets it, what is older stays (SOURCE_DATE_EPOCH).
	Epoch *time.Time
	// Windows writes a layer for Windows: below "Files", with the attributes and
	// security descriptors that its files need.
	Windows bool
	// Implied answers what the directories are that the layer only passes
	// through. Those of which it says nil are left out, as all are without it.
	Implied func(path string) *Inode
}

// Write writes a table and its contents as a tar, the same bytes for the same
// table wherever and whenever: directories before what is in them, in the order
// of names, times in whole seconds, no names of users. The first name of a
// hard-linked file carries the content. An entry for the root itself is called
// "./".
func Write(ctx context.Context, w io.Writer, t *Table, o WriteOptions) error {
	if o.Windows {
		t = windowsForm(t)
	}
	ctx, cancel := context.WithCancel(ctx)
	a := newAhead(ctx, t, o)
	// Whoever starts a goroutine waits for it: cancel, then drain.
	defer a.wait()
	defer cancel()
	tw := &tarWriter{w: w}
	for it := range a.items {
		if err := tw.item(it); err != nil {
			return fmt.Errorf("write layer entry %q: %w", it.header.name, err)
		}
		a.recycle(it)
	}
	if a.err != nil {
		return fmt.Errorf("write layer: %w", a.err)
	}
	tw.block = append(tw.block, zeroBlock[:]...)
	tw.block = append(tw.block, zeroBlock[:]...)
	return tw.flush()
}

// tarWriter writes entries; headers and padding wait for the bytes that follow.
type tarWriter struct {
	w     io.Writer
	block []byte
	buf   []byte
}

func (tw *tarWriter) flush() error {
	_, err := tw.w.Write(tw.block)
	tw.block = tw.block[:0]
	return err
}

func (tw *tarWriter) item(it *item) error {
	if it.err != nil {
		return it.err
	}
	tw.block = appendHeader(tw.block, &it.header)
	size := it.header.size
	if size == 0 {
		if len(tw.block) < 16<<10 {
			return nil
		}
		return tw.flush()
	}
	if it.data != nil {
		tw.block = append(tw.block, it.data...)
		tw.block = pad(tw.block, len(it.data))
		if len(tw.block) < 32<<10 {
			return nil
		}
		return tw.flush()
	}
	if err := tw.flush(); err != nil {
		return err
	}
	if err := tw.stream(it.header.in.Content, size); err != nil {
		return err
	}
	tw.block = append(tw.block, zeroBlock[:padding(size)]...)
	return nil
}

func (tw *tarWriter) stream(c Content, size int64) error {
	if c == nil {
		return errNoContent
	}
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if tw.buf == nil {
		tw.buf = make([]byte, copySize)
	}
	n, err := io.CopyBuffer(tw.w, io.LimitReader(r, size), tw.buf)
	if err != nil {
		return err
	}
	if n < size {
		return sizeError(size, io.ErrUnexpectedEOF)
	}
	return ended(r, size)
}

// plan lists the entries of a table in their order.
type plan struct {
	o     WriteOptions
	links map[*Inode]string // the first name of files with several
	give  func(header) error
}

func (p *plan) run(t *Table) error {
	if p.o.Windows {
		give := p.give
		p.give = func(h header) error { return give(windowsHeader(h)) }
	}
	p.links = make(map[*Inode]string)
	for in := range sharedInodes(t) {
		p.links[in] = ""
	}
	return t.Walk(p.node)
}

func (p *plan) node(name string, n *Node) error {
	dir, base := splitName(name)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return fmt.Errorf("%q: a layer can't have a file of that name, it means a removed one", name)
	}
	switch {
	case n.Whiteout:
		return p.give(p.special(dir, whiteoutPrefix+base))
	case n.IsDir():
		return p.dir(name, n)
	}
	h := header{name: name, typ: n.Inode.Kind.typeflag(), link: n.Inode.Target, in: n.Inode, mtime: p.time(n.Inode)}
	if first, shared := p.links[n.Inode]; shared && first != "" {
		h.typ, h.link = '1', first
		return p.give(h)
	} else if shared {
		p.links[n.Inode] = name
	}
	if n.Inode.Kind == Regular {
		h.size = n.Inode.Size
	}
	return p.give(h)
}

func (p *plan) dir(name string, n *Node) error {
	in := n.Inode
	if in == nil && name != "" && p.o.Implied != nil {
		in = dirInode(p.o.Implied(name))
	}
	if in != nil {
		h := header{name: name + "/", typ: '5', in: in, mtime: p.time(in)}
		if name == "" {
			h.name = "./"
		}
		if err := p.give(h); err != nil {
			return err
		}
	}
	if n.Opaque {
		return p.give(p.special(name, whiteoutOpaque))
	}
	return nil
}

var noInode = &Inode{Kind: Regular}

func (p *plan) special(dir, base string) header {
	if dir != "" {
		base = dir + "/" + base
	}
	return header{name: base, typ: '0', in: noInode, mtime: time.Unix(0, 0)}
}

// time is what a file's entry says: whole seconds, and no later than the epoch.
func (p *plan) time(in *Inode) time.Time {
	t := in.ModTime
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	if p.o.Epoch != nil && t.After(*p.o.Epoch) {
		t = *p.o.Epoch
	}
	return t
}

func (k Kind) typeflag() byte { return "502346"[k] }
