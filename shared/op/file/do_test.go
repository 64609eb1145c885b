package file

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/tree"
)

func TestOwnerByName(t *testing.T) {
	t.Parallel()
	dst := view(t, "f 0644 0:0 1 etc/passwd root:x:0:0\n", "f 0644 0:0 1 etc/group wheel:x:10:a,b")
	users := `
		d 0755 0:0 1 etc
		l 0777 0:0 1 etc/passwd ../lib/users
		f 0644 0:0 1 lib/users app:x:1000:1001::/:/bin/sh
		f 0644 0:0 1 etc/group wheel:x:10:a,b
	`
	broken := "f 0644 0:0 1 etc/passwd app:x:many:1"
	name := func(user, group string, input int) *graph.Owner {
		o := &graph.Owner{User: &graph.User{Name: user, Input: input}}
		if group != "" {
			o.Group = &graph.User{Name: group, Input: input}
		}
		return o
	}
	tests := []struct {
		name  string
		owner *graph.Owner
		want  string
		warn  string
		err   string
	}{
		{name: "a user brings his group", owner: name("app", "", 1), want: "1000:1001"},
		{name: "user and group", owner: name("app", "wheel", 1), want: "1000:10"},
		{name: "unknown user", owner: name("nobody", "", 1), want: "0:0", warn: `user "nobody"`},
		{name: "unknown group", owner: name("app", "none", 1), want: "1000:1001", warn: `group "none"`},
		{name: "a number is its own group", owner: &graph.Owner{User: &graph.User{ID: 42}}, want: "42:42"},
		{name: "a group alone", owner: &graph.Owner{Group: &graph.User{ID: 9}}, want: "0:9"},
		{name: "nowhere to look", owner: name("app", "", -1), err: "numeric ID"},
		{name: "no number", owner: name("app", "", 2), err: "many"},
		{name: "no files", owner: name("app", "", 3), want: "0:0", warn: `user "app"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var warned string
			op := &graph.File{Actions: []graph.FileAction{{Input: 0, Secondary: -1, Do: &graph.Mkdir{Path: "/x", Owner: tt.owner}}}}
			inputs := []*tree.View{dst, view(t, users), view(t, broken), nil}
			results, err := Do(t.Context(), op, inputs, Options{Warn: func(m string) { warned = m }})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(dump(t, tree.NewView(results[0].Tables[0])), " "+tt.want+" ") {
				t.Errorf("result is %s, want owner %s", dump(t, tree.NewView(results[0].Tables[0])), tt.want)
			}
			if !strings.HasPrefix(warned, tt.warn) || (tt.warn == "") != (warned == "") {
				t.Errorf("warning is %q, want %q", warned, tt.warn)
			}
		})
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	base := "d 0700 3:3 1 a\n f 0600 3:3 1 a/f old\n l 0777 0:0 1 l ../../a\n l 0777 0:0 1 new /made/here"
	tests := []struct {
		name      string
		action    any
		want, err string
	}{
		{name: "mkdir", action: &graph.Mkdir{Path: "/a/b", Mode: 0o4755}, want: "d /a\n d /a/b"},
		{name: "mkdir that is there", action: &graph.Mkdir{Path: "/l", Mode: 0o755, MakeParents: true}},
		{name: "mkdir through a link", action: &graph.Mkdir{Path: "/l/x/y", Mode: 0o755, MakeParents: true}, want: "d /a\n d /a/x\n d /a/x/y"},
		{name: "mkdir of a link's target", action: &graph.Mkdir{Path: "/new", Mode: 0o755, MakeParents: true}, want: "d /made\n d /made/here"},
		{name: "mkdir without parents", action: &graph.Mkdir{Path: "/b/c"}, err: "/b"},
		{name: "mkdir below a file", action: &graph.Mkdir{Path: "/a/f/c", MakeParents: true}, err: "not a directory"},
		{name: "mkdir onto a file", action: &graph.Mkdir{Path: "/a/f", MakeParents: true}, err: "not a directory"},
		{name: "mkfile", action: &graph.Mkfile{Path: "/l/f", Data: []byte("x")}, want: "d /a\n f /a/f"},
		{name: "mkfile onto a directory", action: &graph.Mkfile{Path: "/a"}, err: "is a directory"},
		{name: "mkfile as the root", action: &graph.Mkfile{Path: "/"}, err: "is a directory"},
		{name: "mkfile without parents", action: &graph.Mkfile{Path: "/b/c"}, err: "/b"},
		{name: "symlink", action: &graph.Symlink{Old: "../../../x", New: "/a/s"}, want: "d /a\n l /a/s"},
		{name: "symlink that is there", action: &graph.Symlink{Old: "x", New: "/a/f"}, err: "file exists"},
		{name: "rm", action: &graph.Rm{Path: "/a"}, want: "w /a"},
		{name: "rm never leaves the root", action: &graph.Rm{Path: "/../../l/../l/f"}, want: "d /a\n w /a/f"},
		{name: "rm a link itself", action: &graph.Rm{Path: "/new"}, want: "w /new"},
		{name: "rm nothing", action: &graph.Rm{Path: "/a/x"}, err: "/a/x"},
		{name: "rm nothing, allowed", action: &graph.Rm{Path: "/a/f/x", AllowNotFound: true}},
		{name: "rm wildcards", action: &graph.Rm{Path: "/*/*", AllowWildcard: true}, want: "d /a\n w /a/f"},
		{name: "rm wildcards nowhere", action: &graph.Rm{Path: "/x/*", AllowWildcard: true, AllowNotFound: true}},
		{name: "rm the root", action: &graph.Rm{Path: "/.."}, err: "remove /"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := one(t, tt.action, view(t, base), nil, Options{})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "changeset", changes(got), tt.want)
		})
	}
}

func TestMakeMetadata(t *testing.T) {
	t.Parallel()
	ts := time.Unix(42, 0)
	owner := &graph.Owner{User: &graph.User{ID: 1}, Group: &graph.User{ID: 2}}
	op := &graph.File{Actions: []graph.FileAction{
		{Input: -1, Secondary: -1, Output: -1, Do: &graph.Mkdir{Path: "/a/b", Mode: 0o7750, MakeParents: true, Owner: owner, Timestamp: &ts}},
		{Input: 0, Secondary: -1, Output: -1, Do: &graph.Mkfile{Path: "/a/f", Mode: 0o644, Data: []byte("x"), Owner: owner}},
		{Input: 1, Secondary: -1, Output: 0, Do: &graph.Symlink{Old: "f", New: "/a/l", Timestamp: &ts}},
	}}
	results, err := Do(t.Context(), op, nil, Options{Now: at(now)})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Base != -1 || len(results[0].Tables) != 1 {
		t.Errorf("result is %+v", results[0])
	}
	compare(t, "result", dump(t, tree.NewView(results[0].Tables...)), `
		d 0750 1:2 42 a
		d 0750 1:2 42 a/b
		f 0644 1:2 5000 a/f x
		l 0777 0:0 42 a/l f`)
}

func TestChains(t *testing.T) {
	t.Parallel()
	mk := func(p string) any { return &graph.Mkfile{Path: p, Data: []byte(p)} }
	in := []*tree.View{view(t, "f 0644 0:0 1 base")}
	op := &graph.File{Actions: []graph.FileAction{
		{Input: 0, Secondary: -1, Output: -1, Do: mk("/a")}, // 1
		{Input: 1, Secondary: -1, Output: 1, Do: mk("/b")},  // 2: the same changeset
		{Input: 2, Secondary: -1, Output: 0, Do: mk("/c")},  // 3: on top, as 2 is an output
		{Input: -1, Secondary: -1, Output: -1, Do: mk("/s")},
		{Input: 2, Secondary: 4, Output: 2, Do: docker("/s", "/copied")},
		{Input: 0, Secondary: -1, Output: -1, Do: &graph.Rm{Path: "/nobody-asks"}},
	}}
	results, err := Do(t.Context(), op, in, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"f /a\nf /b\n", "f /c\n"}, {"f /a\nf /b\n"}, {"f /a\nf /b\n", "f /copied\n"}}
	for n, r := range results {
		if r.Base != 0 || len(r.Tables) != len(want[n]) {
			t.Fatalf("result %d is %+v", n, r)
		}
		for k, tab := range r.Tables {
			compare(t, "changeset", changes(tab), want[n][k])
		}
	}
	if results[0].Tables[0] != results[1].Tables[0] || results[0].Tables[0] != results[2].Tables[0] {
		t.Error("the shared changeset is not one")
	}
}

// TestMadeAgain removes a directory and makes it again in one changeset: what
// was in it must not come back.
func TestMadeAgain(t *testing.T) {
	t.Parallel()
	dst := table(t, "d 0755 0:0 1 d\n f 0644 0:0 1 d/old")
	op := &graph.File{Actions: []graph.FileAction{
		{Input: 0, Secondary: -1, Output: -1, Do: &graph.Rm{Path: "/d"}},
		{Input: 2, Secondary: 1, Output: 0, Do: docker("/", "/d")},
	}}
	results, err := Do(t.Context(), op, []*tree.View{tree.NewView(dst), view(t, "f 0644 0:0 9 new")}, Options{Now: at(now)})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "changeset", changes(results[0].Tables[0]), "d /d!\n f /d/new")
	compare(t, "result", dump(t, tree.NewView(dst, results[0].Tables[0])), "d 0755 0:0 5000 d\n f 0644 0:0 9 d/new")
}

func TestBadIndexes(t *testing.T) {
	t.Parallel()
	mk := &graph.Mkdir{Path: "/a"}
	for name, actions := range map[string][]graph.FileAction{
		"itself":     {{Input: 0, Secondary: -1, Do: mk}},
		"beyond":     {{Input: -1, Secondary: 5, Do: mk}},
		"below":      {{Input: -2, Secondary: -1, Do: mk}},
		"twice":      {{Input: -1, Secondary: -1, Do: mk}, {Input: -1, Secondary: -1, Do: mk}},
		"gap":        {{Input: -1, Secondary: -1, Output: 1, Do: mk}},
		"no outputs": {{Input: -1, Secondary: -1, Output: -1, Do: mk}},
		"unknown":    {{Input: -1, Secondary: -1, Do: nil}},
	} {
		if _, err := Do(t.Context(), &graph.File{Actions: actions}, nil, Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, err := one(t, docker("/x", "/y"), nil, nil, Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}
