package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// UnpackOptions says how Unpack reads a layer. The zero value suits root and a
// layer that needs nothing of those below it.
type UnpackOptions struct {
	// DiffID is what the uncompressed tar must hash to; not looked at when zero.
	DiffID v1.Hash
	// UserXattr writes the attributes of overlayfs of the "user." kind, for
	// mounts in a user namespace.
	UserXattr bool
	// Unprivileged takes what the kernel refuses to an ordinary user (owners,
	// devices, capabilities) for granted: the table has it, the directory not.
	Unprivileged bool
	// Lower answers what the layers below have at a clean relative path, nil
	// for nothing. It is asked for the target of a hard link that is not in
	// this layer, and for directories that this layer only passes through,
	// which overlayfs shows with the topmost layer's metadata.
	Lower func(path string) *Inode
	// Spool takes the contents, at its end, when there is no directory; nobody
	// else may write to it meanwhile. Without one, contents can't be opened.
	Spool *os.File
	// Archive reads a tar that is no layer: names have no second meaning as
	// whiteouts, and devices and fifos are refused.
	Archive bool
	Limits
}

// Stats is what Unpack saw.
type Stats struct {
	DiffID  v1.Hash
	Size    int64 // of the uncompressed tar
	Entries int64
	// Lost counts the owners, devices and attributes that could not be
	// written into the directory.
	Lost int64
}

// Unpack reads a layer's blob, compressed by gzip, zstd or not at all, into an
// empty directory in the format of overlayfs: a whiteout becomes a device 0:0,
// an opaque directory gets its attribute. The table's contents are the files
// there. Without a directory, the contents go to o.Spool. Names and links in
// the blob never lead out of the directory: symlinks on the way to an entry are
// resolved within the layer, as if it were the whole file system.
//
// Unpack reads r to its end, and has the table only if the bytes were right.
func Unpack(ctx context.Context, r io.Reader, dir string, o UnpackOptions) (*Table, Stats, error) {
	limits := o.withDefaults()
	u := &unpacker{lower: o.Lower, archive: o.Archive, limits: limits, left: limits}
	u.reset()
	if dir != "" {
		w, err := newWriter(dir, writerOptions{userXattr: o.UserXattr, lenient: o.Unprivileged})
		if err != nil {
			return nil, Stats{}, err
		}
		defer w.close()
		u.w, u.root.fd, u.root.heir = w, w.root.fd, w.root.heir
		w.root = u.root
	} else if o.Spool != nil {
		sp, err := newSpool(o.Spool)
		if err != nil {
			return nil, Stats{}, err
		}
		u.spool = sp
	}
	src := newSource(ctx, r, limits.Bytes)
	if err := u.entries(src.tar); err != nil {
		return nil, Stats{}, u.explain(ctx, src.abort(err))
	}
	st := Stats{Entries: limits.Entries - u.left.Entries}
	var err error
	if st.DiffID, st.Size, err = src.finish(); err != nil {
		return nil, st, u.explain(ctx, err)
	}
	if o.DiffID != (v1.Hash{}) && o.DiffID != st.DiffID {
		return nil, st, fmt.Errorf("layer's diff ID is %s, its image says %s: %w", st.DiffID, o.DiffID, ErrIntegrity)
	}
	if err := u.finish(); err != nil {
		return nil, st, err
	}
	if u.w != nil {
		st.Lost = u.w.lost
	}
	return u.t.Seal(), st, nil
}

// ReadTable reads the table of a layer's blob and writes nothing. The contents
// of its files can't be opened.
func ReadTable(ctx context.Context, r io.Reader, o UnpackOptions) (*Table, Stats, error) {
	o.Spool = nil
	return Unpack(ctx, r, "", o)
}

// record is all that a file needs, in one allocation.
type record struct {
	node  Node
	inode Inode
	file  File
}

// unpacker turns the entries of a tar into a table and, where it has a writer
// or a spool, files.
type unpacker struct {
	tree
	tr    *tar.Reader
	w     *writer
	spool *spool
	lower func(string) *Inode
	// archive is UnpackOptions.Archive.
	archive bool
	limits  Limits
	left    Limits
	name    string // of the entry being read, for errors
	// replaced is set once an entry took the place of another, since the first
	// name of a hard-linked file may be gone then.
	replaced bool
}

func (u *unpacker) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if u.name != "" && !errors.Is(err, ErrMalformed) {
		return fmt.Errorf("unpack entry %q: %w", u.name, err)
	}
	if u.archive {
		return fmt.Errorf("unpack archive: %w", err)
	}
	return fmt.Errorf("unpack layer: %w", err)
}

func (u *unpacker) entries(r io.Reader) error {
	u.tr = tar.NewReader(r)
	var e entry
	rec := new(record)
	for {
		u.name = ""
		h, err := u.tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		case err != nil && !errors.Is(err, tar.ErrInsecurePath):
			return err
		}
		u.name = h.Name
		if err := u.parse(h, &e, &rec.inode); err != nil {
			return err
		}
		if err := u.charge(h, &e, &rec.inode); err != nil {
			return err
		}
		if err := u.entry(&e, rec); err != nil {
			return err
		}
		if e.kind == entryInode {
			rec = new(record)
		}
	}
}

// parse reads a header as that of a layer or of an archive.
func (u *unpacker) parse(h *tar.Header, e *entry, in *Inode) error {
	if u.archive {
		if err := checkArchive(h); err != nil {
			return err
		}
	}
	return parse(h, e, in, !u.archive)
}

// charge counts an entry against the limits.
func (u *unpacker) charge(h *tar.Header, e *entry, in *Inode) error {
	if int64(len(h.Name)) > u.limits.Path || int64(len(e.link)) > u.limits.Path {
		return &LimitError{What: "bytes in a path", Max: u.limits.Path}
	}
	if e.dir != "" && int64(strings.Count(e.dir, "/"))+1 > u.limits.Depth {
		return &LimitError{What: "directories in a path", Max: u.limits.Depth}
	}
	if err := spend(&u.left.Entries, 1, "entries", u.limits.Entries); err != nil {
		return err
	}
	weight := int64(len(h.Name))
	if e.kind == entryInode {
		weight += in.weight()
		if err := spend(&u.left.Bytes, in.Size, "bytes of files", u.limits.Bytes); err != nil {
			return err
		}
	}
	return spend(&u.left.Metadata, weight, "bytes of metadata", u.limits.Metadata)
}

func (u *unpacker) entry(e *entry, rec *record) error {
	if e.kind == entrySkip {
		return nil
	}
	f, err := u.folder(e.dir)
	if err != nil {
		return err
	}
	if e.kind == entryOpaque {
		f.node.Opaque = true
		return nil
	}
	if e.base == "" {
		if e.kind == entryInode {
			f.node.Inode = &rec.inode
		}
		return nil
	}
	if len(e.base) > 255 {
		return malformed(u.name, "name of %d bytes", len(e.base))
	}
	switch {
	case e.kind == entryWhiteout:
		return u.whiteout(f, e.base)
	case e.kind == entryLink:
		return u.link(f, e)
	case rec.inode.Kind == Dir:
		return u.dir(f, e.base, &rec.inode)
	}
	return u.file(f, e, rec)
}

// whiteout hides what is below the layer, never what the layer itself brings.
func (u *unpacker) whiteout(f *folder, base string) error {
	if n := f.node.Child(base); n != nil {
		if n.IsDir() {
			n.Opaque = true
		}
		return nil
	}
	f.node.Set(&Node{Name: base, Whiteout: true})
	if u.w == nil {
		return nil
	}
	return u.w.whiteout(f, base)
}

func (u *unpacker) dir(f *folder, base string, in *Inode) error {
	d, err := u.subfolder(f, base)
	if err != nil {
		return err
	}
	d.node.Inode = in
	return nil
}

// file puts anything but a directory, and its content, into its place.
func (u *unpacker) file(f *folder, e *entry, rec *record) error {
	if err := u.clear(f, e.base); err != nil {
		return err
	}
	in := &rec.inode
	rec.node = Node{Name: e.base, Inode: in}
	f.node.Set(&rec.node)
	if in.Kind == Regular && in.Size > 0 {
		if err := u.content(f, e, rec); err != nil {
			return err
		}
	}
	if u.w == nil || in.Kind == Regular && in.Size > 0 {
		return nil
	}
	return u.w.file(f, e.base, in, strings.NewReader(""), false)
}

func (u *unpacker) content(f *folder, e *entry, rec *record) (err error) {
	in := &rec.inode
	switch {
	case u.w != nil:
		rec.file = File{Dir: u.w.dir, Path: f.join(e.base)}
		in.Content = &rec.file
		return u.w.file(f, e.base, in, u.tr, e.sparse)
	case u.spool != nil:
		in.Content, err = u.spool.add(u.tr, in.Size, e.sparse)
		return err
	}
	in.Content = absent{}
	return nil
}

func (u *unpacker) finish() error {
	if u.replaced && u.w != nil {
		u.rename()
	}
	if u.spool != nil {
		return u.spool.flush()
	}
	if u.w == nil {
		return nil
	}
	return u.w.settleAll(u.folders, u.lower)
}

// rename gives every content the first name that its file has now.
func (u *unpacker) rename() {
	seen := make(map[*File]bool)
	_ = u.t.Walk(func(p string, n *Node) error {
		if n.Inode == nil {
			return nil
		}
		if c, ok := n.Inode.Content.(*File); ok && !seen[c] {
			seen[c] = true
			c.Path = p
		}
		return nil
	})
}
