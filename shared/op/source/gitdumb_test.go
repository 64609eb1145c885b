package source

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dumb is a web server with the files of repositories.
type dumb struct {
	*server
	mu    sync.Mutex
	paths []string // what was asked for, below the repository
	// before answers instead, if it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newDumb(t testing.TB) *dumb {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	d := &dumb{server: &server{dir: t.TempDir()}}
	d.http = httptest.NewServer(d)
	t.Cleanup(d.http.Close)
	return d
}

// ServeHTTP answers for "/name/file" with the file in the repository in name.
func (d *dumb) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	d.mu.Lock()
	d.paths = append(d.paths, file)
	d.seen = append(d.seen, r.Header.Get("Authorization"))
	before := d.before
	d.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	dir := filepath.Join(d.dir, name, ".git")
	if file == "info/refs" {
		cmd := exec.Command("git", "update-server-info")
		cmd.Dir, cmd.Env = dir, gitEnv()
		_ = cmd.Run()
	}
	http.StripPrefix("/"+name, http.FileServer(http.Dir(dir))).ServeHTTP(w, r)
}

// asked counts the requests for files that begin with prefix.
func (d *dumb) asked(prefix string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.paths {
		if strings.HasPrefix(p, prefix) {
			n++
		}
	}
	return n
}

// layouts are the ways in which a server can have its objects.
var layouts = map[string]func(t testing.TB, dir string){
	"loose":  func(testing.TB, string) {},
	"packed": func(t testing.TB, dir string) { git(t, dir, "gc", "-q") },
	"index version 1": func(t testing.TB, dir string) {
		git(t, dir, "-c", "pack.indexVersion=1", "repack", "-q", "-a", "-d")
	},
	"packs": func(t testing.TB, dir string) {
		pack := func(objects string) {
			cmd := exec.Command("git", "pack-objects", "-q", ".git/objects/pack/pack")
			cmd.Dir, cmd.Env, cmd.Stdin = dir, gitEnv(), strings.NewReader(objects)
			check(t, cmd.Run())
		}
		for line := range strings.SplitSeq(git(t, dir, "rev-list", "--all", "--objects", "--no-object-names"), "\n") {
			pack(line + "\n")
		}
		git(t, dir, "prune-packed")
	},
	"both": func(t testing.TB, dir string) {
		git(t, dir, "gc", "-q")
		write(t, dir, map[string]string{"src/new": "new"})
		git(t, dir, "add", "-A")
		git(t, dir, "commit", "-q", "--amend", "-m", "second")
	},
}

func TestDumbGit(t *testing.T) {
	for name, layOut := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDumb(t)
			first, _ := sample(t, d.server)
			dir := filepath.Join(d.dir, "repo.git")
			layOut(t, dir)
			second, tag := git(t, dir, "rev-parse", "HEAD"), git(t, dir, "rev-parse", "v1")
			for _, c := range []struct{ ref, checksum, wantRef, object, readme string }{
				{"", "", "refs/heads/main", second, "two"},
				{"HEAD", "", "refs/heads/main", second, "two"},
				{"main", second[:10], "refs/heads/main", second, "two"},
				{"feature/x", first, "refs/heads/feature/x", first, "one"},
				{"light", first[:4], "refs/tags/light", first, "one"},
				{"v1", first, "refs/tags/v1", tag, "one"},
				{"v1", tag[:7], "refs/tags/v1", tag, "one"},
				{"pull/1/head", "", "refs/pull/1/head", first, "one"},
				{first, first[:5], first, first, "one"},
			} {
				r := GitRequest{Remote: d.url("repo.git"), Ref: c.ref, Checksum: c.checksum, Dir: t.TempDir()}
				resolved, err := ResolveGit(t.Context(), r)
				check(t, err)
				tab, info, err := Git(t.Context(), r)
				if err != nil {
					t.Errorf("%q: %v", c.ref, err)
					continue
				}
				if got := read(t, tab.Lookup("README").Inode); got != c.readme || len(files(t, tab)) < 9 {
					t.Errorf("%q: README is %q in %v", c.ref, got, files(t, tab))
				}
				if info.Ref != c.wantRef || info.Object != c.object || !info.Time.Equal(time.Unix(1600000000, 0)) {
					t.Errorf("%q: %+v", c.ref, info)
				}
				if info.Time = (time.Time{}); !reflect.DeepEqual(info, resolved) {
					t.Errorf("%q: resolved to %+v, fetched %+v", c.ref, resolved, info)
				}
			}
		})
	}
}

func TestDumbGitKeepsGitDir(t *testing.T) {
	for name, layOut := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDumb(t)
			first, _ := sample(t, d.server)
			layOut(t, filepath.Join(d.dir, "repo.git"))
			for ref, head := range map[string]string{"": "refs/heads/main", "v1": "refs/tags/v1^{commit}", first: first} {
				tab, info, err := Git(t.Context(), GitRequest{Remote: d.url("repo.git"), Ref: ref, KeepGitDir: true, Dir: t.TempDir()})
				check(t, err)
				dir := putOnDisk(t, tab)
				if got := git(t, dir, "rev-parse", "HEAD", head); got != info.Commit+"\n"+info.Commit {
					t.Errorf("%q: HEAD and %s are %s", ref, head, got)
				}
				if got := git(t, dir, "status", "--porcelain"); got != "" {
					t.Errorf("%q: status: %s", ref, got)
				}
				if got := git(t, dir, "rev-list", "--count", "HEAD"); got != "1" {
					t.Errorf("%q: %s commits", ref, got)
				}
				git(t, dir, "fsck", "--strict", "--full")
			}
		})
	}
}

// Nothing is asked for that is not needed.
func TestDumbGitFetchesLittle(t *testing.T) {
	d := newDumb(t)
	sample(t, d.server)
	dir := filepath.Join(d.dir, "repo.git")
	_, _, err := Git(t.Context(), GitRequest{Remote: d.url("repo.git"), Dir: t.TempDir()})
	check(t, err)
	want := len(strings.Fields(git(t, dir, "rev-list", "--objects", "--no-object-names", "-1", "HEAD")))
	if n := d.asked("objects/"); n != want {
		t.Errorf("%d requests for %d objects", n, want)
	}
	git(t, dir, "gc", "-q")
	d.paths = nil
	_, _, err = Git(t.Context(), GitRequest{Remote: d.url("repo.git"), Dir: t.TempDir()})
	check(t, err)
	if n := d.asked("objects/"); n != 4 { // the commit, the list, an index, a pack
		t.Errorf("asked for %q", d.paths)
	}
}

func TestDumbGitSubmodules(t *testing.T) {
	d := newDumb(t)
	nest(t, d.server)
	tab, _, err := Git(t.Context(), GitRequest{Remote: d.url("top"), KeepGitDir: true, Dir: t.TempDir()})
	check(t, err)
	dir := putOnDisk(t, tab)
	if got := git(t, dir, "submodule", "status", "--recursive"); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "+-") {
		t.Errorf("submodules: %s", got)
	}
	if got := git(t, dir, "status", "--porcelain"); got != "" {
		t.Errorf("status: %s", got)
	}
	tab, _, err = Git(t.Context(), GitRequest{Remote: d.url("top"), Subdir: "vendor/mid/libs/inner/d", Dir: t.TempDir()})
	check(t, err)
	if diff := cmp.Diff(map[string]string{"j": "644 deep"}, files(t, tab)); diff != "" {
		t.Error(diff)
	}
}

func TestDumbGitRefusals(t *testing.T) {
	d := newDumb(t)
	first, _ := sample(t, d.server)
	dir := filepath.Join(d.dir, "repo.git")
	blob := git(t, dir, "rev-parse", "HEAD:README")
	cases := []struct {
		r    GitRequest
		want string
	}{
		{GitRequest{Ref: "none"}, `no ref "none"`},
		{GitRequest{Ref: first[:10]}, "no ref"},
		{GitRequest{Ref: strings.Repeat("a", 40)}, "the server does not have it"},
		{GitRequest{Ref: blob}, "a blob, not a commit"},
		{GitRequest{Ref: "main", Checksum: first}, "expected checksum " + first},
		{GitRequest{MaxBytes: 100}, "limit of bytes: 100"},
		{GitRequest{MaxBytes: 700}, "limit of bytes: 700"},
		{GitRequest{Remote: d.url("none")}, "repository not found"},
	}
	for _, c := range cases {
		if c.r.Remote == "" {
			c.r.Remote = d.url("repo.git")
		}
		c.r.Dir = t.TempDir()
		_, _, err := Git(t.Context(), c.r)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q: %v", c.want, err)
		}
	}
	if n := d.asked("info/refs"); n != len(cases) {
		t.Errorf("%d attempts for %d requests", n, len(cases))
	}
}

// What fails for a while is tried again.
func TestDumbGitTriesAgain(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"cut off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("x\x9c"))
		},
	} {
		for _, file := range []string{"info/refs", "HEAD", ".idx", ".pack", "info/packs", "objects/"} {
			t.Run(file+" "+name, func(t *testing.T) {
				t.Parallel()
				d := newDumb(t)
				sample(t, d.server)
				if strings.Contains(file, "pack") || file == ".idx" {
					git(t, filepath.Join(d.dir, "repo.git"), "gc", "-q")
				}
				var once sync.Once
				d.before = func(w http.ResponseWriter, r *http.Request) (failed bool) {
					if strings.Contains(r.URL.Path, file) {
						once.Do(func() { fail(w); failed = true })
					}
					return failed
				}
				tab, _, err := Git(t.Context(), GitRequest{Remote: d.url("repo.git"), Dir: t.TempDir()})
				if err != nil || len(files(t, tab)) != 9 {
					t.Errorf("%v", err)
				}
				if n := d.asked("info/refs"); n != 2 {
					t.Errorf("%d attempts", n)
				}
			})
		}
	}
}

func TestDumbGitCredentials(t *testing.T) {
	d := newDumb(t)
	sample(t, d.server)
	secrets := func(id string) ([]byte, bool) { return []byte("Bearer h"), id == "H" }
	_, _, err := Git(t.Context(), GitRequest{Remote: d.url("repo.git"), AuthHeader: "H", Secrets: secrets, Dir: t.TempDir()})
	check(t, err)
	if slices.ContainsFunc(d.seen, func(v string) bool { return v != "Bearer h" }) {
		t.Errorf("sent %q", d.seen)
	}
	d.seen = nil
	_, _, err = Git(t.Context(), GitRequest{Remote: strings.Replace(d.url("repo.git"), "//", "//me:pw@", 1), Dir: t.TempDir()})
	check(t, err)
	if slices.ContainsFunc(d.seen, func(v string) bool { return v != "Basic bWU6cHc=" }) {
		t.Errorf("sent %q", d.seen)
	}
}

// The first request may be redirected, and no other. Credentials are for the
// server that they are meant for.
func TestDumbGitRedirects(t *testing.T) {
	d := newDumb(t)
	sample(t, d.server)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, d.http.URL+strings.Replace(r.URL.Path, "/old/", "/", 1)+"?"+r.URL.RawQuery, http.StatusFound)
	}))
	t.Cleanup(front.Close)
	secrets := func(id string) ([]byte, bool) { return []byte("Bearer h"), id == "H" }
	r := GitRequest{Remote: front.URL + "/old/repo.git", AuthHeader: "H", Secrets: secrets, Dir: t.TempDir()}
	_, _, err := Git(t.Context(), r)
	check(t, err)
	if slices.ContainsFunc(d.seen, func(v string) bool { return v != "" }) {
		t.Errorf("sent %q to another server", d.seen)
	}
	d.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/objects/") {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return true
		}
		return false
	}
	r.Remote, r.Dir = d.url("repo.git"), t.TempDir()
	_, _, err = Git(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "only the first request") {
		t.Errorf("redirected object: %v", err)
	}
}

func TestDumbGitManyFiles(t *testing.T) {
	d := newDumb(t)
	dir := d.create(t, "many")
	want := make(map[string]string)
	for i := range 300 {
		want[fmt.Sprintf("d%d/f%d", i%7, i)] = fmt.Sprint(i)
	}
	write(t, dir, want)
	commit(t, dir, "first")
	tab, _, err := Git(t.Context(), GitRequest{Remote: d.url("many"), Dir: t.TempDir()})
	check(t, err)
	for p, content := range want {
		if got := read(t, tab.Lookup(p).Inode); got != content {
			t.Errorf("%s is %q", p, got)
		}
	}
}
