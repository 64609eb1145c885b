package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/tree"
)

// maxUserFile is how much of /etc/passwd or /etc/group is read, as in BuildKit.
const maxUserFile = 10 << 20

// owner is who owns what an action makes.
type owner struct{ uid, gid uint32 }

func ownerOf(action any) *graph.Owner {
	switch a := action.(type) {
	case *graph.Mkdir:
		return a.Owner
	case *graph.Mkfile:
		return a.Owner
	case *graph.Symlink:
		return a.Owner
	case *graph.Copy:
		return a.Owner
	}
	return nil
}

// owner looks the names of o up. A user without a group brings the group that
// /etc/passwd gives, or the group with the user's own number. own is the
// action's input as it is now.
func (r *run) owner(o *graph.Owner, input int, own *tree.View) (*owner, error) {
	if o == nil {
		return nil, nil
	}
	l := lookup{r, input, own}
	var ids owner
	var err error
	if u := o.User; u != nil {
		ids = owner{u.ID, u.ID}
		if u.Name != "" {
			ids, err = l.user(u)
		}
	}
	if g := o.Group; g != nil && err == nil {
		if g.Name == "" {
			ids.gid = g.ID
		} else {
			ids.gid, err = l.group(g, ids.gid)
		}
	}
	return &ids, err
}

type lookup struct {
	*run
	input int
	own   *tree.View
}

// user finds u in /etc/passwd; whoever is not there is root, as in BuildKit.
func (l lookup) user(u *graph.User) (owner, error) {
	fields, err := l.find(u, "/etc/passwd")
	if err != nil {
		return owner{}, err
	}
	if fields == nil {
		l.options.Warn(fmt.Sprintf("user %q is not in /etc/passwd: using 0", u.Name))
		return owner{}, nil
	}
	uid, err := number(fields, 2)
	if err != nil {
		return owner{}, fmt.Errorf("user %q in /etc/passwd: %w", u.Name, err)
	}
	gid, err := number(fields, 3)
	if err != nil {
		return owner{}, fmt.Errorf("user %q in /etc/passwd: group: %w", u.Name, err)
	}
	return owner{uid, gid}, nil
}

// group finds g in /etc/group; one that is not there leaves the user's own.
func (l lookup) group(g *graph.User, own uint32) (uint32, error) {
	fields, err := l.find(g, "/etc/group")
	if err != nil {
		return 0, err
	}
	if fields == nil {
		l.options.Warn(fmt.Sprintf("group %q is not in /etc/group: using %d", g.Name, own))
		return own, nil
	}
	gid, err := number(fields, 2)
	if err != nil {
		return 0, fmt.Errorf("group %q in /etc/group: %w", g.Name, err)
	}
	return gid, nil
}

// find returns the fields of a name's line, nil when there is none.
func (l lookup) find(u *graph.User, p string) ([][]byte, error) {
	if u.Input < 0 {
		return nil, fmt.Errorf("%q: there is no %s to look the name up in (FROM scratch or --link): use a numeric ID", u.Name, p)
	}
	v := l.own
	if u.Input != l.input {
		v = l.view(u.Input)
	}
	data, err := readUsers(v, p)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		fields := bytes.Split(bytes.TrimSpace(line), []byte(":"))
		if string(fields[0]) == u.Name {
			return fields, nil
		}
	}
	return nil, nil
}

// readUsers reads passwd(5) or group(5); a file that is not there has no entries.
func readUsers(v *tree.View, p string) ([]byte, error) {
	data, err := v.ReadFile(p, maxUserFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	return data, err
}

// number reads a field as an ID; a field that is missing or empty is 0. What is
// no number is an error: taking it for 0 would make files root's by accident.
func number(fields [][]byte, i int) (uint32, error) {
	if i >= len(fields) || len(fields[i]) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(fields[i]), 10, 32)
	return uint32(n), err
}
