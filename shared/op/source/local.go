package source

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// Local reads the part of the directory dir that f takes into a table.
//
// It means what BuildKit's local source means: everything belongs to 0:0; modes
// and times are kept; hard links hold among the files that are taken; a socket
// becomes an empty file; directories that are not taken themselves are there
// where something in them is. Of the extended attributes security.capability
// and user.* are kept. Symlinks are never followed, not even when one is put in
// the way during the build; dir itself may be one.
//
// Contents stay where they are and are opened when they are needed: a file that
// is not the same by then is an error that names it.
func Local(ctx context.Context, dir string, f Filter) (*layer.Table, error) {
	t, err := local(ctx, dir, f)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	return t, nil
}

func local(ctx context.Context, dir string, f Filter) (*layer.Table, error) {
	r, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(r.f.Fd()), &st); err != nil {
		return nil, err
	}
	include, err := includes(r, f)
	if err != nil {
		return nil, err
	}
	w := &walker{root: r, xattrs: newXattrReader(dir), links: make(map[fileID]*layer.Inode)}
	// Some more goroutines than processors: on network file systems they wait.
	workers := max(4, runtime.GOMAXPROCS(0))
	w.idle = make(chan *matcher, workers)
	for range workers {
		m, err := newMatcher(include, f.Exclude)
		if err != nil {
			return nil, err
		}
		w.idle <- m
	}
	nodes, err := w.dir(ctx, <-w.idle, task{taken: true})
	if err != nil {
		return nil, err
	}
	t := layer.NewTable()
	t.Root.Inode = topDir(modTime(&st))
	for _, n := range nodes {
		t.Root.Set(n)
	}
	return t.Seal(), nil
}
