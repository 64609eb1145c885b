package snapshot

import (
	"context"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// scan compares two looks at a directory.
type scan struct {
	root     string
	adjust   Adjust
	suspects []*change // what must be looked at once more, and closely
}

// dir puts what differs between two looks at a directory below c, and tells
// whether there was anything.
func (s *scan) dir(c *change, old, now *dir[key]) bool {
	var before []entry[key]
	if old != nil {
		before = old.entries
	}
	after := now.entries
	for len(before) > 0 || len(after) > 0 {
		switch order(before, after) {
		case -1:
			s.gone(c, before[0].name)
			before = before[1:]
		case +1:
			s.entry(c, nil, &after[0])
			after = after[1:]
		default:
			s.entry(c, &before[0], &after[0])
			before, after = before[1:], after[1:]
		}
	}
	return len(c.children) > 0
}

// order tells which of two sorted lists has the first name.
func order(before, after []entry[key]) int {
	switch {
	case len(after) == 0:
		return -1
	case len(before) == 0:
		return +1
	}
	return strings.Compare(before[0].name, after[0].name)
}

func (s *scan) gone(c *change, name string) {
	c.children = append(c.children, &change{name: name, path: join(c.path, name)})
}

func (s *scan) entry(c *change, old, now *entry[key]) {
	suspect := old == nil || old.value != now.value
	child := &change{name: now.name}
	if now.dir != nil {
		child.path = now.dir.path
		var before *dir[key]
		if old != nil {
			before = old.dir
		}
		if s.dir(child, before, now.dir) {
			suspect = true
		}
	}
	if !suspect {
		return
	}
	if now.dir == nil {
		child.path = join(c.path, now.name)
	}
	c.children = append(c.children, child)
	s.suspects = append(s.suspects, child)
}

// describeAll fills the suspects in.
func (s *scan) describeAll(ctx context.Context) error {
	root, err := openat(unix.AT_FDCWD, s.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open", Path: s.root, Err: err}
	}
	defer unix.Close(root)
	g, ctx := errgroup.WithContext(ctx)
	const share = 256
	g.SetLimit(walkers())
	for some := range slices.Chunk(s.suspects, share) {
		g.Go(func() error {
			l := looker{scan: s, root: root, fd: -1}
			defer l.close()
			for _, c := range some {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				if err := l.describe(c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// looker describes suspects, which come directory by directory.
type looker struct {
	*scan
	root int
	fd   int // of dir, or -1
	dir  string
}

func (l *looker) close() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
}

func (l *looker) enter(dir string) (err error) {
	if l.fd >= 0 && l.dir == dir {
		return nil
	}
	l.close()
	l.dir = dir
	if l.fd, err = openBelow(l.root, dir); err != nil {
		return &os.PathError{Op: "open", Path: l.scan.root + "/" + dir, Err: err}
	}
	return nil
}

func (l *looker) describe(c *change) error {
	var dir string
	if i := strings.LastIndexByte(c.path, '/'); i >= 0 {
		dir = c.path[:i]
	}
	if err := l.enter(dir); err != nil {
		return err
	}
	var st unix.Statx_t
	if err := unix.Statx(l.fd, c.name, unix.AT_SYMLINK_NOFOLLOW, inodeMask, &st); err != nil {
		return &os.PathError{Op: "statx", Path: l.scan.root + "/" + c.path, Err: err}
	}
	f, err := describe(l.scan.root, c.path, l.fd, c.name, &st, "")
	if err != nil {
		return err
	}
	d := newChange(f, c.name, l.adjust)
	c.in, c.id = d.in, d.id
	return nil
}
