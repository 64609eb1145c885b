package stepcache

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/strake-build/strake/shared/framed"
	"github.com/strake-build/strake/shared/graph"
)

// opParts says what the result of v depends on: its operation, and its inputs as
// in says. What counts is what counts for BuildKit (the CacheMap of its exec and
// file operations).
func opParts(ctx context.Context, v *graph.Vertex, in inputs) ([]Part, error) {
	p := &parts{ctx: ctx, in: in}
	switch o := v.Op.(type) {
	case *graph.Exec:
		p.exec(o)
	case *graph.File:
		p.file(o, len(v.Inputs))
	case *graph.Merge:
		for n, i := range o.Inputs {
			p.tree("input "+strconv.Itoa(n+1), i)
		}
	case *graph.Diff:
		p.tree("lower input", o.Lower)
		p.tree("upper input", o.Upper)
	default:
		return nil, fmt.Errorf("operation %T has no key", v.Op)
	}
	p.add("operation", strings.TrimPrefix(fmt.Sprintf("%T", v.Op), "*graph."))
	return p.list, p.err
}

// parts is a list in the making.
type parts struct {
	ctx  context.Context //nolint:containedctx // of the one call
	in   inputs
	list []Part
	err  error
}

func (p *parts) add(name, value string) { p.list = append(p.list, Part{name, value}) }

// addIf leaves out what is not there, so that new fields do not change old keys.
func (p *parts) addIf(name, value string) {
	if value != "" {
		p.add(name, value)
	}
}

func list(s ...string) string { return framed.New("list").Strings(s...).Sum() }

func (p *parts) value(name string, value string, err error) {
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return
	}
	p.add(name, value)
}

func (p *parts) tree(name string, i int) {
	if p.err != nil {
		return
	}
	v, err := p.in.tree(p.ctx, i)
	p.value(name, v, err)
}

// exec: neither what secrets are nor through which proxy, and of a cache mount its
// name but not what is in it.
func (p *parts) exec(o *graph.Exec) {
	p.add("command", list(o.Args...))
	for _, kv := range o.Env {
		name, value, _ := strings.Cut(kv, "=")
		p.add("variable "+name, value)
	}
	p.add("directory", o.Cwd)
	p.add("user", o.User)
	p.addIf("hostname", o.Hostname)
	for _, h := range o.ExtraHosts {
		p.add("host "+h.Name, h.IP)
	}
	for _, u := range o.Ulimits {
		p.add("limit "+u.Name, fmt.Sprint(u.Soft, u.Hard))
	}
	p.add("network", fmt.Sprint(o.Network))
	p.add("security", fmt.Sprint(o.Insecure))
	for _, s := range o.SecretEnv {
		p.add("secret in variable "+s.Name, list(s.ID, fmt.Sprint(s.Optional)))
	}
	for _, d := range o.Devices {
		p.add("device "+d, list(o.OptionalDevices...))
	}
	p.addIf("control group", o.CgroupParent)
	if len(o.ValidExitCodes) > 0 {
		p.add("exit codes", fmt.Sprint(o.ValidExitCodes))
	}
	p.add("mount points that go", fmt.Sprint(o.RemoveMountStubs))
	for i := range o.Mounts {
		p.mount(&o.Mounts[i])
	}
}

func (p *parts) mount(m *graph.Mount) {
	if m.Target == "/" {
		p.add("root", fmt.Sprint(m.ReadOnly, m.Output))
		p.tree("file system before it", m.Input)
		return
	}
	name := "mount " + m.Target
	p.add(name, fmt.Sprint(m.Type, m.ReadOnly, m.Output, m.Size))
	if c := m.Cache; c != nil {
		p.add("cache of "+name, list(c.ID, fmt.Sprint(c.Sharing)))
	}
	if s := m.Secret; s != nil {
		p.add("secret of "+name, list(s.ID, fmt.Sprint(s.UID, s.GID, s.Mode, s.Optional)))
	}
	if m.Input >= 0 && p.err == nil {
		v, err := p.in.mounted(p.ctx, m.Input, m.Selector)
		p.value("files of "+name, v, err)
	}
}

func (p *parts) file(o *graph.File, inputs int) {
	seen := make(map[int]bool)
	whole := func(i int) {
		if i >= inputs || seen[i] {
			return
		}
		seen[i] = true
		name := "file system before it"
		if len(seen) > 1 {
			name = "input " + strconv.Itoa(i+1)
		}
		p.tree(name, i)
	}
	for n, a := range o.Actions {
		whole(a.Input)
		p.add("action "+strconv.Itoa(n+1), fmt.Sprint(a.Input, a.Secondary, a.Output))
		for _, u := range p.action(a, inputs) {
			whole(u)
		}
	}
}

// action adds what an action does, and returns the inputs in which it looks up users.
func (p *parts) action(a graph.FileAction, inputs int) (users []int) {
	switch d := a.Do.(type) {
	case *graph.Copy:
		p.copy(a, d, inputs)
		return p.owner(d.Dest, d.Owner)
	case *graph.Mkdir:
		p.add("directory "+d.Path, fmt.Sprint(d.Mode, d.MakeParents)+timestamp(d.Timestamp))
		return p.owner(d.Path, d.Owner)
	case *graph.Mkfile:
		p.add("file "+d.Path, list(string(d.Data), fmt.Sprint(d.Mode)+timestamp(d.Timestamp)))
		return p.owner(d.Path, d.Owner)
	case *graph.Symlink:
		p.add("symlink "+d.New, list(d.Old, timestamp(d.Timestamp)))
		return p.owner(d.New, d.Owner)
	case *graph.Rm:
		p.add("removal of "+d.Path, fmt.Sprint(d.AllowNotFound, d.AllowWildcard))
	default:
		p.value("", "", fmt.Errorf("action %T has no key", a.Do))
	}
	return nil
}

func (p *parts) copy(a graph.FileAction, d *graph.Copy, inputs int) {
	p.add("destination", d.Dest)
	p.add("options of the copy to "+d.Dest, list(
		fmt.Sprint(d.Mode), d.ModeStr, timestamp(d.Timestamp),
		fmt.Sprint(d.DirCopyContents, d.AttemptUnpack, d.CreateDestPath, d.AlwaysReplaceExistingDestPaths)))
	switch {
	case p.err != nil:
	case a.Secondary < inputs:
		v, err := p.in.copied(p.ctx, a.Secondary, d)
		p.value("files copied to "+d.Dest, v, err)
	default: // of an earlier action
		p.add("files copied to "+d.Dest, selection(d))
	}
}

// owner adds who owns what is made. Names count, and where they are looked up.
func (p *parts) owner(of string, o *graph.Owner) (users []int) {
	if o == nil {
		return nil
	}
	for _, u := range []struct {
		name string
		user *graph.User
	}{{"user", o.User}, {"group", o.Group}} {
		switch {
		case u.user == nil:
		case u.user.Name == "":
			p.add(u.name+" of "+of, strconv.FormatUint(uint64(u.user.ID), 10))
		default:
			p.add(u.name+" of "+of, list(u.user.Name, strconv.Itoa(u.user.Input)))
			users = append(users, u.user.Input)
		}
	}
	return users
}

func timestamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " at " + strconv.FormatInt(t.UnixNano(), 10)
}
