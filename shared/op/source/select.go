package source

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/layer"
)

// Select is Local for a directory that is not on disk but in a table: of
// everything in t it makes the table that f takes. Everything belongs to 0:0,
// and t itself stays as it is.
func Select(ctx context.Context, t *layer.Table, f Filter) (*layer.Table, error) {
	include, err := includes(tablePaths{t}, f)
	if err != nil {
		return nil, fmt.Errorf("read context: %w", err)
	}
	m, err := newMatcher(include, f.Exclude)
	if err != nil {
		return nil, fmt.Errorf("read context: %w", err)
	}
	s := &selector{ctx: ctx, m: m, owned: make(map[*layer.Inode]*layer.Inode)}
	out := layer.NewTable()
	out.Root.Inode = topDir(s.own(t.Root).ModTime)
	if err := s.dir(t.Root, out.Root, "", trail{}); err != nil {
		return nil, fmt.Errorf("read context: %w", err)
	}
	return out.Seal(), nil
}

// selector copies nodes from one table to another.
type selector struct {
	ctx   context.Context // of the one call that this is
	m     *matcher
	owned map[*layer.Inode]*layer.Inode
}

func (s *selector) dir(from, to *layer.Node, at string, up trail) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	for _, c := range from.Children() {
		p := c.Name
		if at != "" {
			p = at + "/" + c.Name
		}
		taken, below, here, err := s.m.judge(p, up)
		if err != nil {
			return err
		}
		n := &layer.Node{Name: c.Name, Inode: s.own(c)}
		switch {
		case c.IsDir() && (taken || below):
			if err := s.dir(c, n, p, here); err != nil {
				return err
			}
			if taken || n.Len() > 0 {
				to.Set(n)
			}
		case !c.IsDir() && taken:
			to.Set(n)
		}
	}
	return nil
}

// own is the inode of a node as root's; hard links stay links of each other.
func (s *selector) own(n *layer.Node) *layer.Inode {
	if n.Inode == nil {
		return &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: time.Unix(0, 0)}
	}
	if n.Inode.UID == 0 && n.Inode.GID == 0 {
		return n.Inode
	}
	if o, ok := s.owned[n.Inode]; ok {
		return o
	}
	o := *n.Inode
	o.UID, o.GID = 0, 0
	s.owned[n.Inode] = &o
	return &o
}

// tablePaths answers about a table, which changes no more.
type tablePaths struct{ t *layer.Table }

// at finds a node; no symlink is followed.
func (p tablePaths) at(path string) (*layer.Node, error) {
	n := p.t.Root
	for _, name := range layer.Split(path) {
		if !n.IsDir() {
			return nil, unix.ENOTDIR
		}
		if n = n.Child(name); n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// names implements paths.
func (p tablePaths) names(path string) ([]string, error) {
	n, err := p.at(path)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, unix.ENOTDIR
	}
	var names []string
	for _, c := range n.Children() {
		names = append(names, c.Name)
	}
	return names, nil
}

// link implements paths.
func (p tablePaths) link(path string) (string, error) {
	n, err := p.at(path)
	if err != nil || n.Inode == nil || n.Inode.Kind != layer.Symlink {
		return "", err
	}
	return n.Inode.Target, nil
}
