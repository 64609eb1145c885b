package source

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/graph"
)

func TestParse(t *testing.T) {
	sha := "sha256:" + strings.Repeat("ab", 32)
	for _, c := range []struct {
		id    string
		attrs map[string]string
		want  Request
	}{
		{"docker-image://docker.io/library/alpine:3@" + sha, nil, &ImageRequest{Ref: "docker.io/library/alpine:3@" + sha, ResolveMode: "default", LayerLimit: -1}},
		{"docker-image://x", map[string]string{"image.resolvemode": "pull", "image.layerlimit": "2", "image.checksum": sha, "image.recordtype": "y"}, &ImageRequest{Ref: "x", ResolveMode: "pull", LayerLimit: 2, Checksum: digest.Digest(sha)}},
		{"local://context", map[string]string{
			"local.session": "s", "local.unique": "u", "local.sharedkeyhint": "h", "local.differ": "none",
			"local.includepattern": `["a","b\n"]`, "local.excludepatterns": `["**/x"]`, "local.followpaths": `[]`,
		}, &LocalRequest{Name: "context", Filter: Filter{Include: []string{"a", "b\n"}, Exclude: []string{"**/x"}, Follow: []string{}}}},
		{"https://example.com/a?b", map[string]string{
			"http.filename": "f", "http.checksum": sha, "http.perm": "0640", "http.uid": "7", "http.gid": "8", "http.authheadersecret": "s", "http.header.accept": "x",
		}, &HTTPRequest{
			URL: "https://example.com/a?b", Filename: "f", Checksum: digest.Digest(sha),
			Mode: 0o640, UID: 7, GID: 8, AuthSecret: "s", Header: map[string]string{"accept": "x"},
		}},
		{"oci-layout://store/name@" + sha, map[string]string{"oci.session": "s", "oci.store": "st"}, &LayoutRequest{Ref: "store/name@" + sha, Store: "st", LayerLimit: -1}},
		{"oci-layout://store/name@" + sha, nil, &LayoutRequest{Ref: "store/name@" + sha, Store: "store/name", LayerLimit: -1}},
	} {
		got, err := Parse(&graph.Source{Identifier: c.id, Attrs: c.attrs})
		if err != nil {
			t.Errorf("%s: %v", c.id, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.id, d)
		}
	}
}

func TestParseGit(t *testing.T) {
	for _, c := range []struct {
		id, full string
		attrs    map[string]string
		want     GitRequest
	}{
		{"github.com/moby/buildkit.git#v1:a/../b", "https://github.com/moby/buildkit.git", nil, GitRequest{Remote: "https://github.com/moby/buildkit.git", Ref: "v1", Subdir: "b"}},
		{"github.com/moby/buildkit#:/x", "", nil, GitRequest{Remote: "https://github.com/moby/buildkit", Subdir: "x"}},
		{"github.com/moby/buildkit.git#main", "git@github.com:moby/buildkit.git", nil, GitRequest{Remote: "git@github.com:moby/buildkit.git", Ref: "main"}},
		{"h:2222/r", "ssh://me@h:2222/r", nil, GitRequest{Remote: "ssh://me@h:2222/r"}},
		{"h/r", "https://u:p@h/r.git", nil, GitRequest{Remote: "https://u:p@h/r.git"}},
		{"h/r#../../etc:../../..", "", nil, GitRequest{}},
		{"h/r", "http://h/r", map[string]string{
			"git.keepgitdir": "true", "git.checksum": "abc", "git.skipsubmodules": "true", "git.mtime": "commit", "git.authtokensecret": "T",
			"git.authheadersecret": "H", "git.knownsshhosts": "k", "git.mountsshsock": "default", "git.advice": "true",
		}, GitRequest{Remote: "http://h/r", KeepGitDir: true, Checksum: "abc", SkipSubmodules: true, CommitTime: true, AuthToken: "T", AuthHeader: "H", KnownHosts: "k", SSH: "default"}},
	} {
		attrs := map[string]string{}
		for k, v := range c.attrs {
			attrs[k] = v
		}
		if c.full != "" {
			attrs["git.fullurl"] = c.full
		}
		got, err := Parse(&graph.Source{Identifier: "git://" + c.id, Attrs: attrs})
		if c.want.Remote == "" {
			if err == nil {
				t.Errorf("%s: no error", c.id)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.id, err)
			continue
		}
		if d := cmp.Diff(&c.want, got); d != "" {
			t.Errorf("%s: %s", c.id, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		id, attr, value, want string
	}{
		{"alpine", "", "", "no scheme"},
		{"ftp://u:secret@h/x", "", "", `source ftp://h/x: kind "ftp" is not supported`},
		{"docker-image+blob://x", "", "", `kind "docker-image+blob"`},
		{"docker-image://", "", "", "no image"},
		{"docker-image://x", "image.resolvemode", "never", "not one of default, pull, local"},
		{"docker-image://x", "image.layerlimit", "-1", "image.layerlimit"},
		{"docker-image://x", "image.checksum", "sha256:1", "image.checksum"},
		{"docker-image://x", "image.new", "1", "not supported: attribute image.new"},
		{"local://x", "local.includepattern", "x", "local.includepattern"},
		{"local://x", "local.metadatatransfer", "true", "local.metadatatransfer is not supported"},
		{"https://h/x", "http.checksum", "md5:1", "http.checksum"},
		{"https://h/x", "http.perm", "rwx", "http.perm"},
		{"https://h/x", "http.uid", "-1", "http.uid"},
		{"https://h/x", "http.header.cookie", "1", "attribute http.header.cookie"},
		{"https://h/x", "http.sig.pubkey", "1", "attribute http.sig.pubkey"},
		{"oci-layout://x", "", "", "no digest"},
		{"oci-layout://x@sha256:../x", "", "", "digest"},
		{"git://h/r", "git.fullurl", "https://other/r", "another repository"},
		{"git://h/r", "git.fullurl", "https://h/other", "another repository"},
		{"git://h/r", "git.fullurl", "file:///h/r", `scheme "file"`},
		{"git://h/r", "git.mtime", "now", "git.mtime"},
		{"git://h/r", "git.checksum", "--x", "hexadecimal"},
		{"git://h/r", "git.bundle", "x", "attribute git.bundle"},
		{"git://h/r", "git.sig.pubkey", "x", "attribute git.sig.pubkey"},
		{"git://h/r#--upload-pack=x", "", "", "invalid git ref"},
		{"git://-oProxyCommand=x/r", "", "", "host"},
		{"git://h/", "", "", "path"},
	} {
		attrs := map[string]string{}
		if c.attr != "" {
			attrs[c.attr] = c.value
		}
		_, err := Parse(&graph.Source{Identifier: c.id, Attrs: attrs})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s %s=%s: want %q: %v", c.id, c.attr, c.value, c.want, err)
		}
	}
}

func TestSubmoduleURL(t *testing.T) {
	for _, c := range []struct{ base, url, want string }{
		{"https://h/a/b.git", "../c.git", "https://h/a/c.git"},
		{"https://h/a/b.git", "../../c/d", "https://h/c/d"},
		{"https://h/a/b/", "./c", "https://h/a/b/c"},
		{"https://u:p@h:8/a/b", "../c", "https://h:8/a/c"},
		{"git@h:a/b.git", "../c.git", "git@h:a/c.git"},
		{"ssh://git@h:2/a/b", "../c", "ssh://git@h:2/a/c"},
		{"https://h/a/b", "git@x:y/z", "git@x:y/z"},
		{"https://h/a/b", "../../../c", ""},
		{"https://h/a/b", "../..", ""},
		{"https://h/a/b", "https://x/y#z", ""},
		{"https://h/a/b", "", ""},
	} {
		base, _, err := parseGitURL(c.base)
		check(t, err)
		got, err := base.submodule(c.url)
		if c.want == "" {
			if err == nil {
				t.Errorf("%+v: got %s", c, got)
			}
			continue
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%+v: got %s, %v", c, got, err)
		}
	}
}
