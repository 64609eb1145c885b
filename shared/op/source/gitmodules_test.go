package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nest makes a repository "top" with a submodule, which has one itself.
func nest(t testing.TB, s *server) string {
	t.Helper()
	inner := s.create(t, "inner")
	write(t, inner, map[string]string{"i": "inner", "d/j": "deep"})
	commit(t, inner, "inner")
	mid := s.create(t, "mid")
	write(t, mid, map[string]string{"m": "mid"})
	addModule(t, mid, s.url("inner"), "libs/inner")
	commit(t, mid, "mid")
	top := s.create(t, "top")
	write(t, top, map[string]string{"t": "top"})
	addModule(t, top, "../mid", "vendor/mid")
	commit(t, top, "top")
	return top
}

// addModule adds a submodule; only those over http and relative ones work.
func addModule(t testing.TB, dir, url, path string) {
	t.Helper()
	git(t, dir, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, path)
}

func TestGitSubmodules(t *testing.T) {
	s := newServer(t)
	nest(t, s)
	mid := map[string]string{"m": "644 mid", "libs/": "755", "libs/inner/": "755", "libs/inner/i": "644 inner", "libs/inner/d/": "755", "libs/inner/d/j": "644 deep"}
	all := map[string]string{"t": "644 top", "vendor/": "755", "vendor/mid/": "755"}
	for p, v := range mid {
		all["vendor/mid/"+p] = v
	}
	for _, c := range []struct {
		r    GitRequest
		want map[string]string
	}{
		{GitRequest{}, all},
		{GitRequest{SkipSubmodules: true}, map[string]string{"t": "644 top", "vendor/": "755", "vendor/mid/": "755"}},
		{GitRequest{Subdir: "vendor/mid"}, mid},
		{GitRequest{Subdir: "vendor/mid/libs/inner/d"}, map[string]string{"j": "644 deep"}},
	} {
		c.r.Remote, c.r.Dir = s.url("top"), t.TempDir()
		tab, _, err := Git(t.Context(), c.r)
		if err != nil {
			t.Errorf("%+v: %v", c.r, err)
			continue
		}
		got := files(t, tab)
		for p := range got {
			if filepath.Base(p) == ".gitmodules" {
				delete(got, p)
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%+v: %s", c.r, d)
		}
	}
	_, _, err := Git(t.Context(), GitRequest{Remote: s.url("top"), Subdir: "vendor/mid", SkipSubmodules: true, Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("subdirectory in a skipped submodule: %v", err)
	}
}

func TestGitSubmodulesKeepGitDir(t *testing.T) {
	s := newServer(t)
	nest(t, s)
	tab, _, err := Git(t.Context(), GitRequest{Remote: s.url("top"), KeepGitDir: true, Dir: t.TempDir()})
	check(t, err)
	dir := putOnDisk(t, tab)
	for _, sub := range []string{"", "vendor/mid", "vendor/mid/libs/inner"} {
		at := filepath.Join(dir, sub)
		if got := git(t, at, "rev-parse", "--show-toplevel"); got != at {
			t.Errorf("%q: top level %s", sub, got)
		}
		if got := git(t, at, "status", "--porcelain"); got != "" {
			t.Errorf("%q: status: %s", sub, got)
		}
	}
	if got := git(t, dir, "submodule", "status", "--recursive"); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "+-") {
		t.Errorf("submodules: %s", got)
	}
}

func TestGitHostileSubmodules(t *testing.T) {
	s := newServer(t)
	for name, c := range map[string]struct{ modules, want string }{
		"file":    {"[submodule \"x\"]\npath = x\nurl = file:///etc\n", `scheme "file"`},
		"path":    {"[submodule \"x\"]\npath = x\nurl = /etc\n", "not a URL"},
		"ext":     {"[submodule \"x\"]\npath = x\nurl = ext::sh -c id\n", "not a URL"},
		"option":  {"[submodule \"x\"]\npath = x\nurl = -u./payload\n", "not a URL"},
		"sshopt":  {"[submodule \"x\"]\npath = x\nurl = ssh://-oProxyCommand=id/x\n", "host"},
		"escape":  {"[submodule \"x\"]\npath = x\nurl = ../../../x\n", "leaves"},
		"dots":    {"[submodule \"x\"]\npath = x\nurl = ./a/../../../x\n", `".." within`},
		"name":    {"[submodule \"../../x\"]\npath = x\nurl = ../dots\n", "invalid name"},
		"command": {"[submodule \"x\"]\npath = x\nurl = ../dots\nupdate = !id\n", "update command"},
		"absent":  {"[submodule \"x\"]\npath = y\nurl = ../dots\n", "no URL"},
		"broken":  {"[submodule \"x", ".gitmodules"},
		"none":    {"[submodule \"x\"]\npath = x\nurl = file:///etc\nupdate = none\n", ""},
	} {
		dir := s.create(t, name)
		write(t, dir, map[string]string{".gitmodules": c.modules, "f": "x"})
		git(t, dir, "add", "-A")
		git(t, dir, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("ab", 20)+",x")
		git(t, dir, "commit", "-q", "-m", "x")
		_, _, err := Git(t.Context(), GitRequest{Remote: s.url(name), Dir: t.TempDir()})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: want %q: %v", name, c.want, err)
		}
	}
}

func TestGitSubmoduleOfItself(t *testing.T) {
	s := newServer(t)
	dir := s.create(t, "self")
	write(t, dir, map[string]string{".gitmodules": "[submodule \"x\"]\npath = x\nurl = ../self\n"})
	c := commit(t, dir, "x")
	// Every commit has the one before it as submodule.
	for range maxModuleDepth + 2 {
		git(t, dir, "update-index", "--add", "--cacheinfo", "160000,"+c+",x")
		git(t, dir, "commit", "-q", "-m", "x")
		c = git(t, dir, "rev-parse", "HEAD")
	}
	_, _, err := Git(t.Context(), GitRequest{Remote: s.url("self"), Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "within each other") {
		t.Errorf("%v", err)
	}
}

func TestGitHostileTrees(t *testing.T) {
	s := newServer(t)
	dir := s.create(t, "evil")
	write(t, dir, map[string]string{"f": "x", "z": "a\x00b"})
	blob, zero := git(t, dir, "hash-object", "-w", "f"), git(t, dir, "hash-object", "-w", "z")
	inner := mktree(t, dir, "100644 blob "+blob+"\tconfig\n")
	for name, tree := range map[string]string{
		"dotdot":    "040000 tree " + inner + "\t..\n",
		"dot":       "040000 tree " + inner + "\t.\n",
		"git":       "040000 tree " + inner + "\t.git\n",
		"GIT":       "040000 tree " + inner + "\t.GIT\n",
		"short":     "040000 tree " + inner + "\tgit~1\n",
		"stream":    "040000 tree " + inner + "\t.git::$INDEX_ALLOCATION\n",
		"blank":     "100644 blob " + blob + "\t.git . .\n",
		"backslash": "100644 blob " + blob + "\t.git\\config\n",
		"badlink":   "120000 blob " + zero + "\tl\n",
	} {
		c := git(t, dir, "commit-tree", "-m", "x", mktree(t, dir, tree))
		git(t, dir, "update-ref", "refs/heads/"+name, c)
		_, _, err := Git(t.Context(), GitRequest{Remote: s.url("evil"), Ref: name, Dir: t.TempDir()})
		if err == nil || (!strings.Contains(err.Error(), "invalid path") && !strings.Contains(err.Error(), "no path")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Names that are odd, and allowed.
	c := git(t, dir, "commit-tree", "-m", "x", mktree(t, dir, "100644 blob "+blob+"\t.gitx\n100644 blob "+blob+"\ta\xff\\b:c\n"))
	git(t, dir, "update-ref", "refs/heads/odd", c)
	tab, _, err := Git(t.Context(), GitRequest{Remote: s.url("evil"), Ref: "odd", Dir: t.TempDir()})
	check(t, err)
	if tab.Lookup(".gitx") == nil || tab.Lookup("a\xff\\b:c") == nil {
		t.Errorf("%v", files(t, tab))
	}
}

// mktree makes a tree of whatever it is told.
func mktree(t testing.TB, dir, lines string) string {
	t.Helper()
	cmd := exec.Command("git", "mktree", "-z")
	cmd.Dir, cmd.Env = dir, gitEnv()
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(lines, "\n", "\x00"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	check(t, err)
	return strings.TrimSpace(string(out))
}
