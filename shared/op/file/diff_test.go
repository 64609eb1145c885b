package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/continuity/fs"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// now is the time of what is made without a timestamp in these tests.
const now = 5000

func at(sec int64) func() time.Time { return func() time.Time { return time.Unix(sec, 0) } }

// TestCopyLikeFsutil does random copies between random small trees twice: here
// on tables, and with fsutil, as BuildKit's file backend calls it, on disk.
func TestCopyLikeFsutil(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes files of several owners")
	}
	n := uint64(800)
	if testing.Short() {
		n = 100
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(seed, 7))
		d := &duel{src: randomTree(r), dst: randomTree(r)}
		d.start(t)
		if r.IntN(3) == 0 {
			d.remove(t, pick(r, "a", "b"))
		}
		for range 1 + r.IntN(2) {
			c := randomCopy(r)
			if difference := d.copy(t, c); difference != "" {
				t.Fatalf("seed %d: %+v\nsource:\n%s\ndestination:\n%s\n%s", seed, c, d.src, d.dst, difference)
			}
			if d.over {
				break
			}
		}
		d.end(t)
	}
}

// duel is the same work on tables and on disk.
type duel struct {
	src, dst         string
	layers           []*layer.Table
	realSrc, realDst string
	begun            time.Time
	over             bool // both have failed
}

func (d *duel) start(t *testing.T) {
	t.Helper()
	d.realSrc, d.realDst = t.TempDir(), t.TempDir()
	onDisk(t, d.realSrc, d.src)
	onDisk(t, d.realDst, d.dst)
	d.begun = time.Now().Add(-time.Minute)
	d.layers = []*layer.Table{table(t, d.dst)}
}

func (d *duel) end(t *testing.T) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(d.realSrc), os.RemoveAll(d.realDst)); err != nil {
		t.Fatal(err)
	}
}

// do adds a layer by an action.
func (d *duel) do(t *testing.T, action any) error {
	t.Helper()
	op := &graph.File{Actions: []graph.FileAction{{Input: 0, Secondary: 1, Do: action}}}
	results, err := Do(t.Context(), op, []*tree.View{tree.NewView(d.layers...), view(t, d.src)}, Options{Now: at(now)})
	if err == nil {
		d.layers = append(d.layers, results[0].Tables[0])
	}
	return err
}

func (d *duel) remove(t *testing.T, name string) {
	t.Helper()
	err := d.do(t, &graph.Rm{Path: name, AllowNotFound: true})
	if err = errors.Join(err, os.RemoveAll(filepath.Join(d.realDst, name))); err != nil {
		t.Fatal(err)
	}
}

func (d *duel) copy(t *testing.T, c *graph.Copy) string {
	t.Helper()
	errReal := buildkitCopy(t.Context(), d.realSrc, d.realDst, c)
	err := d.do(t, c)
	d.over = err != nil || errReal != nil
	if err == nil && errReal != nil && strings.HasPrefix(errReal.Error(), "failed to stat") &&
		(errors.Is(errReal, syscall.ENOTDIR) || errors.Is(errReal, syscall.ELOOP)) {
		return "" // fsutil looks below a file or a bad symlink for a directory that it then has no reason to make
	}
	if errReal == nil && errors.Is(err, syscall.EISDIR) {
		return "" // fsutil replaces the root itself by a file
	}
	if (err == nil) != (errReal == nil) {
		return fmt.Sprintf("ours: %v\nfsutil: %v", err, errReal)
	}
	if d.over {
		return ""
	}
	ours := strings.Split(dumpWith(t, tree.NewView(d.layers...), false), "\n")
	theirs := strings.Split(dumpDisk(t, d.realDst, d.begun, false), "\n")
	if !slices.EqualFunc(ours, theirs, equalLine) {
		return fmt.Sprintf("ours:\n%s\nfsutil:\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
	if c.AllowWildcard || len(d.layers) > 2 {
		return "" // fsutil keeps hard links within one match, we within all; and names in several layers are no links
	}
	ours = strings.Split(dump(t, tree.NewView(d.layers...)), "\n")
	theirs = strings.Split(dumpDisk(t, d.realDst, d.begun, true), "\n")
	if !slices.EqualFunc(ours, theirs, equalLine) {
		return fmt.Sprintf("with links, ours:\n%s\nfsutil:\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
	return ""
}

// equalLine compares our line with the disk's, where "now" is a directory's
// time that the disk moved by itself when something was put into it.
func equalLine(ours, theirs string) bool {
	if ours == theirs {
		return true
	}
	a, b := strings.Fields(ours), strings.Fields(theirs)
	return len(a) == len(b) && len(a) >= 5 && a[0] == "d" && b[3] == "now" &&
		slices.Equal(slices.Delete(a, 3, 4), slices.Delete(b, 3, 4))
}

// buildkitCopy does what docopy in BuildKit's file backend does.
func buildkitCopy(ctx context.Context, src, dst string, c *graph.Copy) error {
	destPath := cleanPath(c.Dest)
	if !c.CreateDestPath {
		p, err := fs.RootPath(dst, filepath.Join("/", c.Dest))
		if err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Dir(p)); err != nil {
			return err
		}
	}
	chown := func(old *fscopy.User) (*fscopy.User, error) { return old, nil }
	if c.Owner != nil {
		u := &fscopy.User{UID: int(c.Owner.User.ID), GID: int(c.Owner.Group.ID)}
		chown = func(*fscopy.User) (*fscopy.User, error) { return u, nil }
	}
	opt := func(ci *fscopy.CopyInfo) {
		ci.IncludePatterns, ci.ExcludePatterns = c.IncludePatterns, c.ExcludePatterns
		ci.Chown, ci.Utime = chown, c.Timestamp
		if ci.ModeStr = c.ModeStr; c.ModeStr == "" && c.Mode != -1 {
			m := int(c.Mode)
			ci.Mode = &m
		}
		ci.CopyDirContents, ci.FollowLinks = c.DirCopyContents, c.FollowSymlink
		ci.AlwaysReplaceExistingDestPaths = c.AlwaysReplaceExistingDestPaths
	}
	matches := []string{cleanPath(c.Src)}
	if c.AllowWildcard {
		var err error
		if matches, err = fscopy.ResolveWildcards(src, matches[0], c.FollowSymlink); err != nil {
			return err
		}
		if len(matches) == 0 && !c.AllowEmptyWildcard {
			return os.ErrNotExist
		}
	}
	for _, m := range matches {
		if err := fscopy.Copy(ctx, src, m, dst, destPath, opt, fscopy.AllowXAttrErrors); err != nil {
			return err
		}
	}
	return nil
}

func pick[T any](r *rand.Rand, s ...T) T { return s[r.IntN(len(s))] }

// randomTree writes a small tree, parents first.
func randomTree(r *rand.Rand) string {
	dirs := []string{""}
	taken := map[string]bool{}
	var files []string
	var b strings.Builder
	for range 3 + r.IntN(9) {
		p := path.Join(pick(r, dirs...), pick(r, "a", "b", "c", "d"))
		if taken[p] {
			continue
		}
		taken[p] = true
		meta := fmt.Sprintf("%d:%d %d %s", r.IntN(3), r.IntN(3), 100+r.IntN(3), p)
		switch n := r.IntN(10); {
		case n < 5:
			dirs = append(dirs, p)
			fmt.Fprintf(&b, "d %s %s\n", pick(r, "0755", "0700", "1777", "0711"), meta)
		case n < 7:
			files = append(files, p)
			fmt.Fprintf(&b, "f %s %s %s\n", pick(r, "0644", "4755", "0600", "2711"), meta, pick(r, "one", "two", ""))
		case n < 8 && len(files) > 0:
			fmt.Fprintf(&b, "h %s %s\n", p, pick(r, files...))
		case n < 9:
			fmt.Fprintf(&b, "l 0777 %s %s\n", meta, pick(r, "a", "b/c", "/a", "/a/b", "../c", "..", "/", "/none/x", "."))
		default:
			fmt.Fprintf(&b, "p 0640 %s\n", meta)
		}
	}
	return b.String()
}

func randomCopy(r *rand.Rand) *graph.Copy {
	c := &graph.Copy{
		Src:             pick(r, "/", "/", "/a", "/a", "/a/b", "/*", "/a/*", "/?/b", "/a/", "/a/.", "/b/../a", "/[ab]", "/*/*", "/no*/x", "/c/../..", "a/b/c", "/.", "\\*"),
		Dest:            pick(r, "/", "/", "/x", "/a", "/a/", "/x/", "/a/b/c", "/x/y/z", "/x/y/", "/a/.", "/a/b", "b", "/a/../c", "/x/."),
		Mode:            pick[int32](r, -1, -1, 0o700, 0o4751, 0o7777),
		ModeStr:         pick(r, "", "", "", "u=rwX,go=rX", "a+x,g-w", "go=", "g+s,o=u", "+t"),
		FollowSymlink:   r.IntN(2) == 0,
		DirCopyContents: r.IntN(2) == 0,
		CreateDestPath:  r.IntN(4) > 0,
		AllowWildcard:   r.IntN(2) == 0, AllowEmptyWildcard: r.IntN(2) == 0,
		AlwaysReplaceExistingDestPaths: r.IntN(4) == 0,
	}
	if r.IntN(3) == 0 {
		c.Owner = &graph.Owner{User: &graph.User{ID: 7}, Group: &graph.User{ID: 8}}
	}
	if r.IntN(4) == 0 {
		ts := time.Unix(777, 0)
		c.Timestamp = &ts
	}
	patterns := []string{"a", "b", "a/b", "*/c", "**/c", "a/*", "*", "**/a/b", "c/**", "d"}
	if r.IntN(3) == 0 {
		c.IncludePatterns = []string{pick(r, patterns...), pick(r, patterns...)}
	}
	if r.IntN(3) == 0 {
		c.ExcludePatterns = []string{pick(r, patterns...)}
		if r.IntN(2) == 0 {
			c.ExcludePatterns = append(c.ExcludePatterns, "!"+pick(r, patterns...))
		}
	}
	return c
}

// onDisk makes the lines of a tree real.
func onDisk(t *testing.T, dir, lines string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	tab := table(t, lines)
	made := make(map[*layer.Inode]string)
	var dirs []func()
	must(tab.Walk(func(p string, n *layer.Node) error {
		i := n.Inode
		if i == nil {
			return nil
		}
		full := filepath.Join(dir, p)
		if first, ok := made[i]; ok {
			return os.Link(first, full)
		}
		made[i] = full
		switch i.Kind {
		case layer.Dir:
			must(os.Mkdir(full, 0o700))
		case layer.Regular:
			data, err := tree.ReadAll(i)
			must(err)
			must(os.WriteFile(full, data, 0o600))
		case layer.Symlink:
			must(os.Symlink(i.Target, full))
		case layer.Fifo:
			must(unix.Mkfifo(full, 0o600))
		}
		must(os.Lchown(full, int(i.UID), int(i.GID)))
		if i.Kind != layer.Symlink {
			must(unix.Chmod(full, i.Mode))
		}
		dirs = append(dirs, func() {
			ts := unix.NsecToTimespec(i.ModTime.UnixNano())
			must(unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
		})
		return nil
	}))
	for _, f := range slices.Backward(dirs) {
		f()
	}
}

// dumpDisk writes a directory on disk as lines; times since start are "now".
func dumpDisk(t *testing.T, dir string, start time.Time, links bool) string {
	t.Helper()
	var b strings.Builder
	first := make(map[uint64]string)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		if name, ok := first[st.Ino]; ok && links {
			fmt.Fprintf(&b, "h %s %s\n", rel, name)
			return nil
		}
		first[st.Ino] = rel
		kind, rest := "p", ""
		switch {
		case fi.IsDir():
			kind = "d"
		case fi.Mode().IsRegular():
			kind = "f"
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if len(data) > 0 {
				rest = " " + string(data)
			}
		case fi.Mode()&os.ModeSymlink != 0:
			kind = "l"
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			rest = " " + target
		}
		when := fmt.Sprint(st.Mtim.Sec)
		switch {
		case fi.ModTime().After(start) && kind == "d":
			when = "now"
		case fi.ModTime().After(start):
			when = fmt.Sprint(now)
		}
		fmt.Fprintf(&b, "%s %04o %d:%d %s %s%s\n", kind, st.Mode&0o7777, st.Uid, st.Gid, when, rel, rest)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
