package file

import (
	"archive/tar"
	"fmt"
	"path"
	"strings"
	"syscall"

	"github.com/strake-build/strake/shared/layer"
)

const maxName = 255 // limits.h: NAME_MAX

// bounds fills in the defaults of layers.
func bounds(l layer.Limits) layer.Limits {
	for _, f := range []struct {
		field *int64
		value int64
	}{{&l.Entries, 4 << 20}, {&l.Bytes, 512 << 30}, {&l.Metadata, 1 << 30}, {&l.Path, 4095}} {
		if *f.field == 0 {
			*f.field = f.value
		} else if *f.field < 0 {
			*f.field = 1<<63 - 1
		}
	}
	return l
}

// budget is what more an archive may cost.
type budget struct{ max, left layer.Limits }

func newBudget(l layer.Limits) *budget { return &budget{bounds(l), bounds(l)} }

// spend refuses an entry that costs too much. A sparse file costs what it
// unpacks to, however small it is in the archive.
func (b *budget) spend(h *tar.Header) error {
	name := path.Clean(h.Name)
	if int64(len(name)) > b.max.Path {
		return syscall.ENAMETOOLONG
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxName {
			return syscall.ENAMETOOLONG
		}
	}
	meta := len(h.Name) + len(h.Linkname)
	for k, v := range h.PAXRecords {
		meta += len(k) + len(v)
	}
	for _, c := range []struct {
		left      *int64
		cost, max int64
		what      string
	}{
		{&b.left.Entries, 1, b.max.Entries, "entries"},
		{&b.left.Bytes, h.Size, b.max.Bytes, "bytes in files"},
		{&b.left.Metadata, int64(meta), b.max.Metadata, "bytes of metadata"},
	} {
		if c.cost > *c.left {
			return fmt.Errorf("the archive has more than %d %s", c.max, c.what)
		}
		*c.left -= c.cost
	}
	return nil
}
