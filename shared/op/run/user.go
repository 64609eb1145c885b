package run

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// maxUserFile is how large /etc/passwd and /etc/group may be, as in BuildKit: an
// image decides over their size, not we.
const maxUserFile = 10 << 20

// identity is who a step is.
type identity struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// allGroups are the supplementary groups, the primary one among them, as login(1)
// and containerd have it.
func (i *identity) allGroups() []uint32 {
	if slices.Contains(i.groups, i.gid) {
		return i.groups
	}
	return append([]uint32{i.gid}, i.groups...)
}

// lookupUser finds the user of a step in the root's own files. Both parts as
// numbers need no file; a user alone brings its groups along; an empty one is root.
func lookupUser(v *tree.View, spec string) (identity, error) {
	passwd, err := userFile(v, "/etc/passwd")
	if id, ok := numeric(spec); ok {
		id.home = homeOf(passwd, id.uid)
		return id, nil
	}
	group, gerr := userFile(v, "/etc/group")
	name := cmp.Or(spec, "0")
	var id identity
	if err = errors.Join(err, gerr); err == nil {
		id, err = find(name, passwd, group)
	}
	switch {
	case err == nil:
		return id, nil
	case spec == "":
		return identity{home: "/"}, nil
	}
	return identity{}, fmt.Errorf("user %q: %w", spec, err)
}

func find(name string, passwd, group []byte) (identity, error) {
	u, err := user.GetExecUser(name, nil, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return identity{}, err
	}
	// What the command line says is checked there; what the files say is not, and
	// 4294967296 must not become 0.
	for _, id := range append([]int{u.Uid, u.Gid}, u.Sgids...) {
		if id < 0 || id > math.MaxInt32 {
			return identity{}, fmt.Errorf("%d is no id: %w", id, user.ErrRange)
		}
	}
	id := identity{uid: uint32(u.Uid), gid: uint32(u.Gid), home: homeOf(passwd, uint32(u.Uid))} //nolint:gosec // checked above
	for _, g := range u.Sgids {
		id.groups = append(id.groups, uint32(g)) //nolint:gosec // checked above
	}
	return id, nil
}

// numeric reads "uid:gid", of which either may be "root" even where no file says so.
func numeric(spec string) (identity, bool) {
	u, g, ok := strings.Cut(spec, ":")
	if !ok {
		return identity{}, false
	}
	uid, err1 := parseID(u)
	gid, err2 := parseID(g)
	return identity{uid: uid, gid: gid}, err1 == nil && err2 == nil
}

func parseID(s string) (uint32, error) {
	if s == "root" {
		return 0, nil
	}
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err
}

// homeOf is the home directory that a user's line in passwd names.
func homeOf(passwd []byte, uid uint32) string {
	users, err := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return u.Uid == int(uid) })
	if err != nil || len(users) == 0 || users[0].Home == "" {
		return "/"
	}
	return users[0].Home
}

// userFile reads a file that may not be there. What is no regular file says
// nothing, as in BuildKit.
func userFile(v *tree.View, p string) ([]byte, error) {
	f, err := v.Stat(p)
	if err != nil || f.Kind != layer.Regular {
		return nil, nil //nolint:nilerr // as said above
	}
	return v.ReadFile(p, maxUserFile)
}
