package source

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strake-build/strake/shared/layer"
)

// files gives the content, the target or the kind of everything in a table, .git left out.
func files(t testing.TB, tab *layer.Table) map[string]string {
	t.Helper()
	out := make(map[string]string)
	check(t, tab.Walk(func(p string, n *layer.Node) error {
		switch i := n.Inode; {
		case p == "" || p == ".git" || strings.HasPrefix(p, ".git/"):
		case i.Kind == layer.Dir:
			out[p+"/"] = fmt.Sprintf("%o", i.Mode)
		case i.Kind == layer.Symlink:
			out[p] = "-> " + i.Target
		default:
			out[p] = fmt.Sprintf("%o %s", i.Mode, read(t, i))
		}
		return nil
	}))
	return out
}

// sample makes a repository with two commits on main, a branch, tags and a
// pull request.
func sample(t testing.TB, s *server) (first, second string) {
	dir := s.create(t, "repo.git")
	write(t, dir, map[string]string{"README": "one", "src/main.go": "package main", "src/deep/x": "x", "run.sh": "#!/bin/sh", "empty": ""})
	check(t, os.Chmod(filepath.Join(dir, "run.sh"), 0o777))
	check(t, os.Symlink("../README", filepath.Join(dir, "src", "link")))
	check(t, os.Symlink("/etc", filepath.Join(dir, "etc")))
	first = commit(t, dir, "first")
	git(t, dir, "tag", "light")
	git(t, dir, "tag", "-m", "a tag", "v1")
	git(t, dir, "branch", "feature/x")
	git(t, dir, "update-ref", "refs/pull/1/head", first)
	write(t, dir, map[string]string{"README": "two"})
	return first, commit(t, dir, "second")
}

func TestGitRefs(t *testing.T) {
	s := newServer(t)
	first, second := sample(t, s)
	tag := git(t, filepath.Join(s.dir, "repo.git"), "rev-parse", "v1")
	for _, c := range []struct{ ref, checksum, wantRef, object, readme string }{
		{"", "", "refs/heads/main", second, "two"},
		{"HEAD", "", "refs/heads/main", second, "two"},
		{"main", second[:10], "refs/heads/main", second, "two"},
		{"refs/heads/main", second, "refs/heads/main", second, "two"},
		{"heads/main", "", "refs/heads/main", second, "two"},
		{"feature/x", first, "refs/heads/feature/x", first, "one"},
		{"light", first, "refs/tags/light", first, "one"},
		{"v1", first, "refs/tags/v1", tag, "one"},
		{"v1", tag[:7], "refs/tags/v1", tag, "one"},
		{"refs/tags/v1", "", "refs/tags/v1", tag, "one"},
		{"pull/1/head", "", "refs/pull/1/head", first, "one"},
		{"refs/pull/1/head", "", "refs/pull/1/head", first, "one"},
		{first, "", first, first, "one"},
		{second, second[:5], second, second, "two"},
	} {
		r := GitRequest{Remote: s.url("repo.git"), Ref: c.ref, Checksum: c.checksum, Dir: t.TempDir()}
		resolved, err := ResolveGit(t.Context(), r)
		if err != nil {
			t.Errorf("%q: %v", c.ref, err)
			continue
		}
		tab, info, err := Git(t.Context(), r)
		if err != nil {
			t.Errorf("%q: %v", c.ref, err)
			continue
		}
		if got := read(t, tab.Lookup("README").Inode); got != c.readme {
			t.Errorf("%q: README is %q", c.ref, got)
		}
		if info.Ref != c.wantRef || info.Object != c.object || !info.Time.Equal(time.Unix(1600000000, 0)) {
			t.Errorf("%q: %+v", c.ref, info)
		}
		if info.Time = (time.Time{}); !reflect.DeepEqual(info, resolved) {
			t.Errorf("%q: resolved to %+v, fetched %+v", c.ref, resolved, info)
		}
	}
}

func TestGitFiles(t *testing.T) {
	s := newServer(t)
	sample(t, s)
	now := time.Unix(1234567890, 5)
	whole := map[string]string{
		"README": "644 two", "empty": "644 ", "etc": "-> /etc", "run.sh": "755 #!/bin/sh",
		"src/": "755", "src/main.go": "644 package main", "src/link": "-> ../README", "src/deep/": "755", "src/deep/x": "644 x",
	}
	src := map[string]string{"main.go": "644 package main", "link": "-> ../README", "deep/": "755", "deep/x": "644 x"}
	for _, c := range []struct {
		subdir string
		commit bool
		want   map[string]string
		mtime  time.Time
	}{
		{"", false, whole, now},
		{"/", true, whole, time.Unix(1600000000, 0)},
		{"src", false, src, now},
		{"/src/../src/./", true, src, time.Unix(1600000000, 0)},
		{"src/deep", false, map[string]string{"x": "644 x"}, now},
	} {
		tab, _, err := Git(t.Context(), GitRequest{Remote: s.url("repo.git"), Subdir: c.subdir, CommitTime: c.commit, Now: now, Dir: t.TempDir()})
		if err != nil {
			t.Errorf("%q: %v", c.subdir, err)
			continue
		}
		if d := cmp.Diff(c.want, files(t, tab)); d != "" {
			t.Errorf("%q: %s", c.subdir, d)
		}
		check(t, tab.Walk(func(p string, n *layer.Node) error {
			if !n.Inode.ModTime.Equal(c.mtime) || n.Inode.UID != 0 {
				t.Errorf("%q: %s: %+v", c.subdir, p, n.Inode)
			}
			return nil
		}))
	}
}

func TestGitFailures(t *testing.T) {
	s := newServer(t)
	first, second := sample(t, s)
	git(t, s.dir, "init", "-q", "-b", "main", "--object-format=sha256", "long")
	git(t, filepath.Join(s.dir, "long"), "commit", "-q", "--allow-empty", "-m", "first")
	for _, c := range []struct {
		r    GitRequest
		want string
	}{
		{GitRequest{Ref: "none"}, `no ref "none"`},
		{GitRequest{Ref: first[:10]}, "no ref"},
		{GitRequest{Ref: strings.Repeat("a", 40)}, "no branch or tag has the commit"},
		{GitRequest{Ref: "--upload-pack=x"}, "invalid git ref"},
		{GitRequest{Ref: "a..b"}, "invalid git ref"},
		{GitRequest{Ref: "main", Checksum: first}, "expected checksum " + first},
		{GitRequest{Ref: "v1", Checksum: second}, "expected checksum"},
		{GitRequest{Ref: first, Checksum: second}, "expected checksum"},
		{GitRequest{Ref: "main", Checksum: "-c"}, "not a hexadecimal"},
		{GitRequest{Ref: "main", FetchByCommit: true}, "needs a full commit"},
		{GitRequest{Ref: "main", Checksum: strings.Repeat("a", 64)}, "SHA-256"},
		{GitRequest{Subdir: "none/x"}, `there is no "none"`},
		{GitRequest{Subdir: "README"}, "not a directory"},
		{GitRequest{Subdir: "etc"}, "not a directory"},
		{GitRequest{Subdir: "src/link"}, "not a directory"},
		{GitRequest{Remote: "file://" + s.dir + "/repo.git"}, `scheme "file"`},
		{GitRequest{Remote: s.dir + "/repo.git"}, "not a URL"},
		{GitRequest{Remote: "ext::sh -c true"}, "not a URL"},
		{GitRequest{Remote: "ssh://-oProxyCommand=x/y"}, "host"},
		{GitRequest{Remote: "git@example.com:-x"}, "path"},
		{GitRequest{Remote: s.url("none.git")}, "repository not found"},
		{GitRequest{Remote: s.url("private/x.git")}, "authentication required"},
		{GitRequest{Remote: s.url("long")}, "SHA-256 repositories are not supported"},
		{GitRequest{MaxBytes: 400}, "limit of bytes: 400"},
	} {
		if c.r.Remote == "" {
			c.r.Remote = s.url("repo.git")
		}
		c.r.Dir = t.TempDir()
		_, _, err := Git(t.Context(), c.r)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.r, err)
		}
	}
	_, _, err := Git(t.Context(), GitRequest{Remote: s.url("repo.git"), Ref: "main", Checksum: first, Dir: t.TempDir()})
	if _, ok := errors.AsType[*ChecksumError](err); !ok {
		t.Errorf("%v is no ChecksumError", err)
	}
	if _, err := ResolveGit(t.Context(), GitRequest{Remote: s.url("repo.git"), Ref: "main", Checksum: first}); err == nil {
		t.Error("resolved to something else than the checksum")
	}
}

func TestGitFetchesLittle(t *testing.T) {
	s := newServer(t)
	first, second := sample(t, s)
	dir := filepath.Join(s.dir, "repo.git")
	for i := range 5 {
		write(t, dir, map[string]string{"n": fmt.Sprint(i)})
		commit(t, dir, "more")
	}
	history := func(r GitRequest) int {
		r.Remote, r.Dir, r.KeepGitDir = s.url("repo.git"), t.TempDir(), true
		tab, _, err := Git(t.Context(), r)
		check(t, err)
		return len(strings.Fields(git(t, putOnDisk(t, tab), "rev-list", "HEAD")))
	}
	if n := history(GitRequest{}); n != 1 {
		t.Errorf("a branch came with %d commits", n)
	}
	// A commit that no reference points to, which the server does not give out.
	if n := history(GitRequest{Ref: second}); n != 2 {
		t.Errorf("a refused commit came with %d commits", n)
	}
	git(t, dir, "config", "uploadpack.allowAnySHA1InWant", "true")
	if n := history(GitRequest{Ref: second}); n != 1 {
		t.Errorf("a commit came with %d commits", n)
	}
	if n := history(GitRequest{Ref: "main", FetchByCommit: true, Checksum: first}); n != 1 {
		t.Errorf("a pinned commit came with %d commits", n)
	}
}

// putOnDisk writes a table as files.
func putOnDisk(t testing.TB, tab *layer.Table) string {
	t.Helper()
	dir := t.TempDir()
	check(t, tab.Walk(func(p string, n *layer.Node) error {
		at := filepath.Join(dir, p)
		switch i := n.Inode; {
		case p == "":
			return nil
		case i.Kind == layer.Dir:
			return os.Mkdir(at, 0o755)
		case i.Kind == layer.Symlink:
			return os.Symlink(i.Target, at)
		default:
			return os.WriteFile(at, []byte(read(t, i)), os.FileMode(i.Mode))
		}
	}))
	return dir
}

func TestGitKeepsGitDir(t *testing.T) {
	s := newServer(t)
	first, _ := sample(t, s)
	withUser := strings.Replace(s.url("repo.git"), "http://", "http://me:secret@", 1)
	for _, c := range []struct{ ref, check, want string }{
		{"", "rev-parse refs/heads/main", "HEAD"},
		{"v1", "rev-parse refs/tags/v1^{commit}", "HEAD"},
		{"v1", "cat-file -t refs/tags/v1", "tag"},
		{"pull/1/head", "rev-parse refs/pull/1/head", "HEAD"},
		{first, "rev-parse HEAD", first},
	} {
		tab, info, err := Git(t.Context(), GitRequest{Remote: withUser, Ref: c.ref, KeepGitDir: true, Dir: t.TempDir()})
		check(t, err)
		dir := putOnDisk(t, tab)
		if c.want == "HEAD" {
			c.want = info.Commit
		}
		if got := git(t, dir, strings.Fields(c.check)...); got != c.want {
			t.Errorf("%q: %s: %s, not %s", c.ref, c.check, got, c.want)
		}
		if got := git(t, dir, "status", "--porcelain"); got != "" {
			t.Errorf("%q: status: %s", c.ref, got)
		}
		git(t, dir, "fsck", "--strict")
		if got := git(t, dir, "remote", "get-url", "origin"); got != s.url("repo.git") {
			t.Errorf("%q: origin is %s", c.ref, got)
		}
		for p, n := range map[string]uint32{".git": 0o755, ".git/HEAD": 0o644, ".git/objects/pack": 0o755, ".git/config": 0o644} {
			if got := tab.Lookup(p); got == nil || got.Inode.Mode != n {
				t.Errorf("%q: %s: %+v", c.ref, p, got)
			}
		}
	}
	tab, _, err := Git(t.Context(), GitRequest{Remote: withUser, KeepGitDir: true, Subdir: "src", Dir: t.TempDir()})
	check(t, err)
	if tab.Lookup(".git") != nil {
		t.Error(".git is there with a subdirectory")
	}
}

func TestGitOtherTransports(t *testing.T) {
	s := newServer(t)
	_, second := sample(t, s)
	addr, known, socket := s.ssh(t)
	dial := func(id string) (io.ReadWriteCloser, bool, error) {
		if id != "default" {
			return nil, false, nil
		}
		conn, err := net.Dial("unix", socket)
		return conn, true, err
	}
	for _, r := range []GitRequest{
		{Remote: "git://" + s.daemon(t) + "/repo.git"},
		{Remote: "ssh://git@" + addr + "/repo.git", SSH: "default", KnownHosts: known, Dial: dial},
		{Remote: "ssh://" + addr + "/repo.git", SSH: "default", KnownHosts: known, Dial: dial, Ref: "v1"},
		{Remote: "ssh://git@" + addr + "/repo.git", SSH: "default", KnownHosts: known, Dial: dial, Ref: second},
	} {
		r.Dir = t.TempDir()
		tab, _, err := Git(t.Context(), r)
		if err != nil {
			t.Errorf("%s: %v", r.Remote, err)
			continue
		}
		if len(files(t, tab)) != 9 {
			t.Errorf("%s: %v", r.Remote, files(t, tab))
		}
	}
	otherAddr, other, _ := s.ssh(t)
	wrongKey := strings.ReplaceAll(other, portOf(otherAddr), portOf(addr))
	for _, c := range []struct {
		r    GitRequest
		want string
	}{
		{GitRequest{SSH: "default", KnownHosts: known}, "no ssh agent"},
		{GitRequest{SSH: "else", KnownHosts: known, Dial: dial}, `no ssh agent "else"`},
		{GitRequest{SSH: "default", Dial: dial}, "host key of " + addr + " is not known"},
		{GitRequest{SSH: "default", KnownHosts: other, Dial: dial}, "key is unknown"},
		{GitRequest{SSH: "default", KnownHosts: wrongKey, Dial: dial}, "mismatch"},
	} {
		c.r.Remote, c.r.Dir = "ssh://git@"+addr+"/repo.git", t.TempDir()
		if _, _, err := Git(t.Context(), c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q: %v", c.want, err)
		}
	}
}

func portOf(addr string) string { return addr[strings.LastIndex(addr, ":"):] }

func TestGitCredentials(t *testing.T) {
	s := newServer(t)
	sub := s.create(t, "private/sub")
	write(t, sub, map[string]string{"f": "sub"})
	commit(t, sub, "sub")
	dir := s.create(t, "private/repo")
	write(t, dir, map[string]string{"f": "x"})
	commit(t, dir, "first")
	host := strings.TrimPrefix(s.http.URL, "http://")
	for _, c := range []struct {
		secrets map[string]string
		want    string
	}{
		{map[string]string{"T": "tok"}, "Basic eC1hY2Nlc3MtdG9rZW46dG9r"},
		{map[string]string{"T": "tok", "T." + host: "other"}, "Basic eC1hY2Nlc3MtdG9rZW46b3RoZXI="},
		{map[string]string{"T": "tok", "H": "Bearer h"}, "Bearer h"},
	} {
		s.seen = nil
		get := func(id string) ([]byte, bool) { v, ok := c.secrets[id]; return []byte(v), ok }
		_, _, err := Git(t.Context(), GitRequest{Remote: s.url("private/repo"), AuthToken: "T", AuthHeader: "H", Secrets: get, Dir: t.TempDir()})
		check(t, err)
		if slices.ContainsFunc(s.seen, func(v string) bool { return v != c.want }) {
			t.Errorf("sent %q, not %q", s.seen, c.want)
		}
	}
	// A submodule elsewhere does not get the credentials.
	git(t, dir, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./../sub", "sub")
	commit(t, dir, "with submodule")
	get := func(id string) ([]byte, bool) { return []byte("tok"), id == "T" }
	_, _, err := Git(t.Context(), GitRequest{Remote: s.url("private/repo"), AuthToken: "T", Secrets: get, Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), `submodule "sub": fetch `+s.url("private/sub")+": authentication required") {
		t.Errorf("submodule: %v", err)
	}
}

func TestGitLargeBlobs(t *testing.T) {
	s := newServer(t)
	dir := s.create(t, "big")
	rnd := rand.NewChaCha8([32]byte{1})
	data := make([]byte, largeObject+1<<20)
	_, _ = rnd.Read(data)
	write(t, dir, map[string]string{"a": string(data), "c": "small"})
	commit(t, dir, "first")
	copy(data[1000:], "changed") // a delta in the pack
	write(t, dir, map[string]string{"b": string(data)})
	commit(t, dir, "second")
	git(t, dir, "repack", "-q", "-a", "-d", "-f")
	tab, _, err := Git(t.Context(), GitRequest{Remote: s.url("big"), Dir: t.TempDir()})
	check(t, err)
	if read(t, tab.Lookup("b").Inode) != string(data) {
		t.Error("b is different")
	}
	copy(data[1000:], read(t, tab.Lookup("a").Inode)[1000:1007])
	if read(t, tab.Lookup("a").Inode) != string(data) {
		t.Error("a is different")
	}
}
