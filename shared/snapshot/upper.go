// Package snapshot finds what a step changed in a root filesystem since the last look.
//
// Under an overlay, Upper reads the upper directory. In a plain directory, an
// Index remembers what the kernel says about each file and tells later what it
// says otherwise. Neither reads contents, but of files that look touched and
// have the metadata they had before.
package snapshot

import (
	"context"
	"fmt"
	"time"

	"github.com/strake-build/strake/shared/layer"
	"golang.org/x/sys/unix"
)

// UpperOptions says how Upper reads an upper directory.
type UpperOptions struct {
	// Lower knows what lies below the upper directory. What is the same there
	// is no change. Without it all in the directory is.
	Lower Lower
	// Names lists what the layers below have in a directory. With it, what an
	// opaque directory hides is said by whiteouts; without it, the directory
	// stays opaque.
	Names func(path string) []string
	// UserXattr is for overlays that were mounted in a user namespace.
	UserXattr bool
	// Ignore names paths, relative and clean, that never enter a layer.
	Ignore func(path string) bool
	// Adjust, where set, corrects each inode, from several goroutines at once.
	Adjust Adjust
	// Latest, where set, is the latest time that a file of a layer gets when it is
	// packed (layer.WriteOptions.Epoch).
	Latest *time.Time
}

// Upper reads the upper directory of an overlay, after the processes that wrote
// there are gone, as a table of changes. The contents of the table are the files
// there, which must stay as they are.
//
// A directory in which something changed is in the table with its metadata; one
// of which only the time differs is not. The names of a hard-linked file are in
// the table together or not at all. Sockets and what is mounted below the
// directory are left out.
func Upper(ctx context.Context, root string, o UpperOptions) (*layer.Table, error) {
	prefix := "trusted.overlay."
	if o.UserXattr {
		prefix = "user.overlay."
	}
	w := walker[*change]{root: root, mask: inodeMask, ignore: o.Ignore}
	w.visit = func(at *spot, st *unix.Statx_t) (*change, bool, error) {
		name := string(at.name)
		f, err := describe(root, join(at.path, name), at.fd, name, st, prefix)
		if err != nil {
			return nil, false, err
		}
		return newChange(f, name, o.Adjust), true, nil
	}
	d, err := w.walk(ctx)
	if err != nil {
		return nil, fmt.Errorf("read upper directory: %w", err)
	}
	top, err := describeRoot(root, prefix, o.Adjust)
	if err != nil {
		return nil, fmt.Errorf("read upper directory: %w", err)
	}
	adopt(top, d)
	if o.Names != nil && o.Lower != nil {
		expand(top, false, o.Lower, o.Names)
	}
	return reduce(ctx, top, o.Lower, o.Latest)
}

// adopt turns what was walked into what changed: all of it.
func adopt(c *change, d *dir[*change]) {
	c.children = make([]*change, len(d.entries))
	for i, e := range d.entries {
		c.children[i] = e.value
		if e.dir != nil {
			adopt(e.value, e.dir)
		}
	}
}

func describeRoot(root, prefix string, adjust Adjust) (*change, error) {
	fd, err := openat(unix.AT_FDCWD, root, dirFlags&^unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, inodeMask, &st); err != nil {
		return nil, err
	}
	f, err := describe(root, "", fd, ".", &st, prefix)
	if err != nil {
		return nil, err
	}
	return newChange(f, "", adjust), nil
}
