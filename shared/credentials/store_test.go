package credentials_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/strake-build/strake/shared/credentials"
)

func TestStore(t *testing.T) {
	f := filepath.Join(t.TempDir(), "new", "config.json")
	for _, host := range []string{"docker.io", "r.io:5000", "r.io"} {
		if err := credentials.Store(f, host, "u", host+":q"); err != nil {
			t.Fatal(err)
		}
	}
	s := credentials.Sources{Files: []string{f}}
	for repository, want := range map[string]string{"index.docker.io/library/x": "u:docker.io:q", "r.io:5000/x": "u:r.io:5000:q", "r.io/x": "u:r.io:q"} {
		if got := find(t, s, repository); got != want {
			t.Errorf("%s: got %q", repository, got)
		}
	}
	fi, err := os.Stat(f)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	text, _ := os.ReadFile(f)
	if !strings.Contains(string(text), `"https://index.docker.io/v1/"`) {
		t.Errorf("docker would not find %s", text)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(f), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStoreKeepsTheRest(t *testing.T) {
	f := file(t, `{"auths":{"https://index.docker.io/v1/":{"auth":"b2xkOm9sZA=="},"docker.io":{"auth":"b2xkOm9sZA=="},"r.io":`+up+`},
		"HttpHeaders":{"X":"1"},"proxies":{"default":{"httpProxy":"p"}},"future":12345678901234567890}`)
	if err := os.Chmod(f, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := credentials.Store(f, "index.docker.io", "new", "n"); err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	text, _ := os.ReadFile(f)
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if string(got["future"]) != "12345678901234567890" || len(got["HttpHeaders"]) == 0 || len(got["proxies"]) == 0 || strings.Contains(string(text), "b2xkOm9sZA") {
		t.Errorf("%s", text)
	}
	for repository, want := range map[string]string{"docker.io/x/y": "new:n", "r.io/x": "u:p"} {
		if g := find(t, credentials.Sources{Files: []string{f}}, repository); g != want {
			t.Errorf("%s: got %q", repository, g)
		}
	}
	if fi, _ := os.Stat(f); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	for _, odd := range []string{"", "null", "{}", `{"auths":null}`} {
		f := file(t, odd)
		if err := credentials.Store(f, "r.io", "u", "p"); err != nil || find(t, credentials.Sources{Files: []string{f}}, "r.io/x") != "u:p" {
			t.Errorf("%q: %v", odd, err)
		}
	}
}

func TestStoreRefuses(t *testing.T) {
	victim := file(t, "{}")
	dir := t.TempDir()
	link := filepath.Join(dir, "link.json")
	linked := filepath.Join(dir, "linked")
	if os.Symlink(victim, link) != nil || os.Symlink(filepath.Dir(victim), linked) != nil {
		t.Fatal("no links here")
	}
	for name, tt := range map[string]struct{ path, host, user, secret, want string }{
		"a link":          {link, "r.io", "u", canary, "symbolic link"},
		"a linked folder": {filepath.Join(linked, "config.json"), "r.io", "u", canary, "symbolic link"},
		"a folder":        {dir, "r.io", "u", canary, "not a regular file"},
		"not JSON":        {file(t, canary), "r.io", "u", canary, "not JSON"},
		"wrong auths":     {file(t, `{"auths":["`+canary+`"]}`), "r.io", "u", canary, "wrong type"},
		"a helper":        {file(t, `{"credHelpers":{"r.io":"x"}}`), "r.io", "u", canary, "credential helper"},
		"no host":         {victim, "", "u", canary, "not the host"},
		"a colon":         {victim, "r.io", "u:v", canary, "colon"},
		"no secret":       {victim, "r.io", "u", "", "empty"},
	} {
		before, _ := os.ReadFile(tt.path)
		err := credentials.Store(tt.path, tt.host, tt.user, tt.secret)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if after, _ := os.ReadFile(tt.path); string(after) != string(before) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if os.Geteuid() == 0 {
		f := file(t, "{}")
		if err := os.Chown(f, 1234, 1234); err != nil {
			t.Fatal(err)
		}
		if err := credentials.Store(f, "r.io", "u", "p"); err == nil || !strings.Contains(err.Error(), "1234") {
			t.Error(err)
		}
	}
}

// A reader never sees half a file.
func TestStoreIsAtomic(t *testing.T) {
	f := file(t, `{"auths":{"r.io":`+up+`}}`)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if got := find(t, credentials.Sources{Files: []string{f}}, "r.io/x"); got != "u:p" {
				t.Errorf("got %q", got)
				return
			}
		}
	})
	for range 50 {
		if err := credentials.Store(f, "other.io", "u", strings.Repeat("p", 10000)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}
