package disposable

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Places are the parts of the root that are not a stage's: what stays, and what
// is mounted. Paths are relative to the root and clean.
type Places struct {
	kept   []string // sorted
	mounts []string // sorted
}

// places looks at what is mounted now.
func (r *Root) places() (*Places, error) { return r.mounts(r.dir) }

// mounts looks at what is mounted below dir.
func (r *Root) mounts(dir string) (*Places, error) {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("list what is mounted: %w", err)
	}
	p := &Places{kept: r.kept}
	for _, m := range list {
		if name, ok := below(m.Mountpoint, dir); ok && name != "" {
			p.mounts = append(p.mounts, name)
		}
	}
	p.mounts = outermost(p.mounts)
	return p, nil
}

// outermost leaves out what lies in another of the list.
func outermost(list []string) []string {
	slices.Sort(list)
	var out []string
	for _, name := range list {
		if !covers(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// inside makes an absolute path relative to where stages are put.
func (r *Root) inside(abs string) (string, bool) { return below(abs, r.dir) }

// below makes an absolute path relative to dir.
func below(abs, dir string) (string, bool) {
	rest, ok := strings.CutPrefix(path.Clean(abs), dir)
	if !ok || rest != "" && rest[0] != '/' && dir != "/" {
		return "", false
	}
	return strings.TrimPrefix(rest, "/"), true
}

// Reserved tells whether p is, or lies in, what stays or what is mounted.
func (p *Places) Reserved(name string) bool {
	return covers(p.kept, name) || covers(p.mounts, name)
}

// Kept tells whether p is, or lies in, what stays.
func (p *Places) Kept(name string) bool { return covers(p.kept, name) }

// Mounted tells whether p is, or lies in, what is mounted.
func (p *Places) Mounted(name string) bool { return covers(p.mounts, name) }

// Anchored tells whether something below p is reserved, so that p itself must
// remain a directory.
func (p *Places) Anchored(name string) bool {
	return name == "" || holds(p.kept, name) || holds(p.mounts, name)
}

// Mounts lists what is mounted, by name, without what is mounted in that.
func (p *Places) Mounts() []string { return p.mounts }

// Keeps lists what stays, by name.
func (p *Places) Keeps() []string { return p.kept }

func covers(list []string, name string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return within(name, l) })
}

func holds(list []string, dir string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return l != dir && within(l, dir) })
}

// within tells whether name is dir or below it.
func within(name, dir string) bool {
	rest, ok := strings.CutPrefix(name, dir)
	return ok && (rest == "" || rest[0] == '/')
}
