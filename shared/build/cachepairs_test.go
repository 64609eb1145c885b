package build_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// pair is two builds that differ in one thing.
type pair struct {
	*bed
	web     *httptest.Server
	content atomic.Value // what the web server gives
	docker  string
	request build.Request
	args    map[string]string
	secrets pairSecrets
}

type pairSecrets map[string]string

func (s pairSecrets) Secret(id string) ([]byte, bool, error) {
	v, ok := s[id]
	return []byte(v), ok, nil
}

func newPair(t *testing.T, b *bed, docker string) *pair {
	t.Helper()
	own := *b
	own.dir, own.context = t.TempDir(), t.TempDir()
	t.Cleanup(func() { b.Push(t, "busybox:latest", b.base) })
	p := &pair{bed: &own, docker: docker, args: map[string]string{}, secrets: pairSecrets{"s": "one"}}
	p.content.Store("from the web")
	p.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(p.content.Load().(string)))
	}))
	t.Cleanup(p.web.Close)
	p.write(t, "file", "from the context")
	p.write(t, "dir/x", "x")
	p.write(t, "dir/sub/y", "y")
	p.write(t, "other", "not copied")
	must(t, os.Symlink("file", filepath.Join(p.context, "dir/link")))
	return p
}

func (p *pair) path(name string) string { return filepath.Join(p.context, name) }

// write puts a file into the context with a time of its own.
func (p *pair) write(t *testing.T, name, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	must(t, os.WriteFile(p.path(name), []byte(content), 0o644))
}

// build makes the request of the pair as it is now.
func (p *pair) build(t *testing.T) build.Request {
	t.Helper()
	docker := strings.ReplaceAll(p.docker, "WEB", p.web.URL)
	req := p.bed.request(t, strings.ReplaceAll(strings.ReplaceAll(docker, "%", "%%"), "BASE", "%[1]s"))
	req.Frontend.BuildArgs = p.args
	req.Secrets = p.secrets
	req.Frontend.Platforms = p.request.Frontend.Platforms
	req.Frontend.AddHosts, req.Frontend.Ulimits, req.Frontend.Network = p.request.Frontend.AddHosts, p.request.Frontend.Ulimits, p.request.Frontend.Network
	req.Frontend.NoCache = p.request.Frontend.NoCache
	req.Pack, req.Allow = p.request.Pack, p.request.Allow
	req.Reproducible = true
	return req
}

func replace(from, to string) func(*testing.T, *pair) {
	return func(t *testing.T, p *pair) {
		t.Helper()
		if !strings.Contains(p.docker, from) {
			t.Fatalf("no %q in the Dockerfile", from)
		}
		p.docker = strings.ReplaceAll(p.docker, from, to)
	}
}

func arg(name, value string) func(*testing.T, *pair) {
	return func(_ *testing.T, p *pair) { p.args = map[string]string{name: value} }
}

func put(name, content string) func(*testing.T, *pair) {
	return func(t *testing.T, p *pair) { t.Helper(); p.write(t, name, content) }
}

func onContext(name string, do func(path string) error) func(*testing.T, *pair) {
	return func(t *testing.T, p *pair) { t.Helper(); must(t, do(p.path(name))) }
}

// TestCachePairs builds, changes one thing, and builds again with what the first
// build left in a cache. A letter stands for each step of the second build: h
// found, u found and not even needed, - not needed, c found by content, M carried
// out. Whatever was found, the image must be the one that is built without a cache.
func TestCachePairs(t *testing.T) {
	b := newBed(t)
	const copyDir = "FROM BASE\nCOPY dir /d\nRUN find /d >/list\n"
	for _, c := range []struct {
		name   string
		docker string
		change func(*testing.T, *pair)
		want   string
	}{
		{"nothing", copyDir, func(*testing.T, *pair) {}, "uh"},

		// Variables. An ARG is in the environment of the RUNs below it, used or not.
		{"ARG above RUN", "FROM BASE\nARG A=1\nRUN echo x\n", arg("A", "2"), "M"},
		{"ARG below RUN", "FROM BASE\nRUN echo x\nARG A=1\n", arg("A", "2"), "h"},
		{"ARG that nobody declares", "FROM BASE\nRUN echo x\n", arg("A", "2"), "h"},
		{"ARG given as it is by default", "FROM BASE\nARG A=1\nRUN echo x\n", arg("A", "1"), "h"},
		{"ARG of another stage", "FROM BASE AS s\nARG A=1\nRUN echo x >/x\nFROM BASE\nRUN echo y\n", arg("A", "2"), "h"},
		{"ARG in COPY", "FROM BASE\nARG A=file\nCOPY $A /x\n", arg("A", "other"), "M"},
		{"ARG unused by COPY", "FROM BASE\nARG A=1\nCOPY file /x\n", arg("A", "2"), "h"},
		{"ARG in ADD", "FROM BASE\nARG A=/x\nADD file $A\n", arg("A", "/y"), "M"},
		{"ARG in WORKDIR", "FROM BASE\nARG A=/x\nWORKDIR $A\n", arg("A", "/y"), "M"},
		{"ARG in FROM", "ARG A=1\nFROM BASE\nARG A\nCOPY file /x-$A\n", arg("A", "2"), "M"},
		{"proxy", "FROM BASE\nRUN echo x\n", arg("HTTP_PROXY", "http://proxy.example"), "h"},
		{"ENV above RUN", "FROM BASE\nENV A=1\nRUN echo x\n", replace("A=1", "A=2"), "M"},
		{"ENV above COPY", "FROM BASE\nENV A=1\nCOPY file /x\n", replace("A=1", "A=2"), "h"},
		{"ENV below RUN", "FROM BASE\nRUN echo x\nENV A=1\n", replace("A=1", "A=2"), "h"},
		{"ENV cut otherwise", "FROM BASE\nENV A=1B C=2\nRUN echo x\n", replace("A=1B C=2", "A=1 BC=2"), "M"},
		{
			"what is only in the config", "FROM BASE\nLABEL a=1\nEXPOSE 80\nCMD [\"a\"]\nVOLUME /v\nSTOPSIGNAL 9\nRUN echo x\n",
			replace("LABEL a=1\nEXPOSE 80\nCMD [\"a\"]\nVOLUME /v\nSTOPSIGNAL 9", "LABEL b=1\nEXPOSE 81\nCMD [\"b\"]\nVOLUME /w\nSTOPSIGNAL 10"), "h",
		},

		// Instructions.
		{"command", "FROM BASE\nRUN echo 1\nRUN echo x >/x\n", replace("RUN echo 1", "RUN echo 2"), "Mc"},
		{"command of exec form cut otherwise", "FROM BASE\nRUN [\"echo\",\"a b\"]\n", replace(`"a b"`, `"a","b"`), "M"},
		{"comment and blank", "FROM BASE\nRUN echo x\n", replace("RUN", "# why\n\nRUN  "), "h"},
		{"last step", "FROM BASE\nCOPY dir /d\nRUN echo 1 >/1\nRUN echo 2 >/2\n", replace("echo 2", "echo 3"), "uhM"},
		{"first step, other result", "FROM BASE\nRUN echo 1 >/1\nRUN echo x >/x\n", replace("echo 1", "echo 2"), "MM"},
		{"first step, same result", "FROM BASE\nRUN echo 1 >/1\nRUN cat /1 >/2\nCOPY dir /d\n", replace("RUN echo 1", "RUN true; echo 1"), "Mcc"},
		{"SHELL", "FROM BASE\nSHELL [\"/bin/sh\",\"-c\"]\nRUN echo x\n", replace(`"-c"`, `"-ec"`), "M"},
		{"USER", "FROM BASE\nUSER 1\nRUN echo x\n", replace("USER 1", "USER 2"), "M"},
		{"USER above COPY", "FROM BASE\nUSER 1\nCOPY file /x\n", replace("USER 1", "USER 2"), "h"},
		{"WORKDIR", "FROM BASE\nWORKDIR /a\nRUN echo x\n", replace("/a", "/b"), "MM"},
		{"WORKDIR written otherwise", "FROM BASE\nWORKDIR /a\nRUN echo x\n", replace("/a", "/b/../a/"), "hM"}, // the shell may see the difference,
		{"heredoc of RUN", "FROM BASE\nRUN <<E\necho 1\nE\n", replace("echo 1", "echo 2"), "M"},
		{"heredoc of COPY", "FROM BASE\nCOPY <<E /x\n1\nE\n", replace("\n1\n", "\n2\n"), "M"},
		{"name of a heredoc", "FROM BASE\nCOPY <<E /x\n1\nE\n", replace("E /x\n1\nE", "F /x\n1\nF"), "M"}, // a file of another name is copied,
		{"steps that change nothing", "FROM BASE\nRUN true\nWORKDIR /tmp\nVOLUME /v\nRUN true\n", func(*testing.T, *pair) {}, "uuh"},
		{"no cache asked for", "FROM BASE\nRUN echo x\n", func(_ *testing.T, p *pair) { p.request.Frontend.NoCache = true }, "M"},

		// What is found makes the same files as what is carried out.
		{"below removed files", "FROM BASE\nRUN rm -r /etc; mkdir /etc; rm -r /tmp\nRUN ls / /etc >/l; echo 1\n", replace("echo 1", "echo 2"), "hM"},
		{"below a directory that became a link", "FROM BASE\nRUN mkdir /a /b; echo 1 >/a/f\nRUN rm -r /a; ln -s b /a\nRUN echo 1 >/a/g; ls / >/l; readlink /a >>/l; echo 1\n", replace(">>/l; echo 1", ">>/l; echo 2"), "uhM"},
		{"a link that is made again, in the next stage", "FROM BASE AS s\nRUN mkdir /a; echo 1 >/a/f; ln -s f /a/l\nRUN rm /a/l; ln -s f /a/l\nFROM s\nRUN cat /a/l; echo 1\n", replace("l; echo 1", "l; echo 2"), "uhM"},
		{"below special modes", "FROM BASE\nRUN echo 1 >/a; chmod 6755 /a; mkdir -m 1777 /b\nRUN stat -c %a /a /b >/l; echo 1\n", replace("l; echo 1", "l; echo 2"), "hM"},
		{"the same step twice", "FROM BASE\nRUN echo x >>/x\nRUN echo x >>/x\nRUN cat /x; echo 1\n", replace("x; echo 1", "x; echo 2"), "uhM"},

		// What COPY takes.
		{"content", copyDir, put("dir/x", "z"), "MM"},
		{"content below", copyDir, put("dir/sub/y", "z"), "MM"},
		{"a file more", copyDir, put("dir/new", ""), "MM"},
		{"a name", copyDir, onContext("dir", func(p string) error { return os.Rename(p+"/x", p+"/xx") }), "MM"},
		{"a file elsewhere", copyDir, put("other", "z"), "uh"},
		{"mode", copyDir, onContext("dir/x", func(p string) error { return os.Chmod(p, 0o755) }), "MM"},
		{"mode of a directory", copyDir, onContext("dir/sub", func(p string) error { return os.Chmod(p, 0o700) }), "MM"},
		{"mode of the directory itself", copyDir, onContext("dir", func(p string) error { return os.Chmod(p, 0o700) }), "uh"}, // the destination is made, not copied
		{"owner, which a context has not", copyDir, onContext("dir/x", func(p string) error { return os.Chown(p, 5, 5) }), "uh"},
		{"extended attribute", copyDir, onContext("dir/x", func(p string) error { return unix.Setxattr(p, "user.a", []byte("1"), 0) }), "MM"},
		{"target of a symlink", copyDir, onContext("dir/link", func(p string) error { os.Remove(p); return os.Symlink("other", p) }), "MM"},
		{"symlink becomes a file", copyDir, onContext("dir/link", func(p string) error { os.Remove(p); return os.WriteFile(p, []byte("file"), 0o777) }), "MM"},
		{"hard link", copyDir, onContext("dir", func(p string) error { os.Remove(p + "/sub/y"); return os.Link(p+"/x", p+"/sub/y") }), "MM"},
		{"times only", copyDir, onContext("dir/x", func(p string) error { return os.Chtimes(p, time.Unix(1, 0), time.Unix(2, 0)) }), "uh"},
		{"order in the directory", copyDir, onContext("dir", func(p string) error {
			os.Rename(p+"/x", p+"/z")
			os.WriteFile(p+"/w", nil, 0o644)
			os.Remove(p + "/w")
			return os.Rename(p+"/z", p+"/x")
		}), "uh"},
		{"where it is from, same files", "FROM BASE\nCOPY dir/x /f\n", func(t *testing.T, p *pair) {
			p.write(t, "dir2/x", "x")
			p.docker = "FROM BASE\nCOPY dir2/x /f\n"
		}, "h"},
		{"wildcard takes the same", "FROM BASE\nCOPY dir/x /f/\n", replace("dir/x", "dir/x*"), "h"},
		{"wildcard takes one more", "FROM BASE\nCOPY dir/x* /f/\n", put("dir/xx", ""), "M"},
		{"wildcard takes no more", "FROM BASE\nCOPY dir/x* /f/\n", put("dir/yx", ""), "h"},
		{"two files change places", "FROM BASE\nCOPY dir/x dir/sub/y /f/\n", func(t *testing.T, p *pair) {
			p.write(t, "dir/x", "y")
			p.write(t, "dir/sub/y", "x")
		}, "M"},
		{"destination", "FROM BASE\nCOPY file /x\n", replace("/x", "/y"), "M"},
		{"chmod", "FROM BASE\nCOPY --chmod=600 file /x\n", replace("600", "640"), "M"},
		{"chown", "FROM BASE\nCOPY --chown=1:2 file /x\n", replace("1:2", "1:3"), "M"},
		{"chown by another name for the same", "FROM BASE\nCOPY --chown=root file /x\n", replace("root", "0"), "h"},
		{"link", "FROM BASE\nCOPY --link file /x\nCOPY --link dir /d\n", put("file", "z"), "Mh"},
		{"parents", "FROM BASE\nCOPY --parents dir/./x /f/\n", put("dir/x", "z"), "M"},
		{"parents, another file", "FROM BASE\nCOPY --parents dir/./x /f/\n", put("dir/sub/y", "z"), "h"},
		{"excluded", "FROM BASE\nCOPY --exclude=sub dir /f/\n", put("dir/sub/y", "z"), "h"},
		{"exclude", "FROM BASE\nCOPY --exclude=sub dir /f/\n", replace("=sub", "=x"), "M"},
		{"dockerignore takes away", copyDir, put(".dockerignore", "dir/x\n"), "MM"},
		{"dockerignore takes nothing away that counts", copyDir, put(".dockerignore", "other\n"), "uh"},
		{"names that look alike when joined", "FROM BASE\nCOPY [\"dir/a-b\",\"dir/c\",\"/f/\"]\n", func(t *testing.T, p *pair) {
			p.write(t, "dir/a", "1")
			p.write(t, "b-dir/c", "2")
			p.docker = "FROM BASE\nCOPY [\"dir/a\",\"b-dir/c\",\"/f/\"]\n"
		}, "M"},
		{"bytes that go from one file to the next", "FROM BASE\nCOPY dir/a-b dir/c /f/\n", func(t *testing.T, p *pair) {
			p.write(t, "dir/a-b", "12")
			p.write(t, "dir/c", "")
		}, "M"},
		{"name of a directory", copyDir, onContext("dir", func(p string) error { return os.Rename(p+"/sub", p+"/sup") }), "MM"},
		{"setuid", copyDir, onContext("dir/x", func(p string) error { return os.Chmod(p, 0o644|os.ModeSetuid) }), "MM"},
		{"sticky bit", copyDir, onContext("dir/sub", func(p string) error { return os.Chmod(p, 0o755|os.ModeSticky) }), "MM"},

		// Stages.
		{"stage, another file", "FROM BASE AS s\nRUN echo 1 >/1; echo 2 >/2\nFROM BASE\nCOPY --from=s /1 /1\n", replace("echo 2", "echo 3"), "Mc"},
		{"stage, that file", "FROM BASE AS s\nRUN echo 1 >/1\nFROM BASE\nCOPY --from=s /1 /1\n", replace("echo 1", "echo 3"), "MM"},
		{"stage, owner", "FROM BASE AS s\nRUN echo 1 >/1; chown 1 /1\nFROM BASE\nCOPY --from=s /1 /1\n", replace("chown 1", "chown 2"), "MM"},
		{"stage nobody asks for", "FROM BASE AS s\nRUN echo 1 >/1\nFROM BASE\nRUN echo x\n", replace("echo 1", "echo 2"), "h"},
		{"stage and an ignore file that lets little in", "# ignore: * !file\nFROM BASE AS s\nCOPY file /1\nRUN echo 1 >/dir; cat /1 >>/dir\nFROM BASE\nCOPY --from=s /dir /dir\n", put("file", "new"), "MMM"},
		{"stage, a file of a name that is ignored", "# ignore: * !file\nFROM BASE AS s\nRUN echo 1 >/other\nFROM BASE\nCOPY --from=s /other /other\n", replace("echo 1", "echo 2"), "MM"},
		{"stage above which something changes, another file", "FROM BASE AS s\nCOPY dir /d\nRUN cp /d/x /x\nFROM BASE\nCOPY --from=s /x /x\nRUN cat /x >/y\n", put("dir/sub/y", "z"), "MMcc"},
		{"labels of a stage", "FROM BASE AS s\nLABEL a=1\nRUN echo 1 >/1\nFROM BASE\nCOPY --from=s /1 /1\n", replace("a=1", "a=2"), "uh"},

		// ADD.
		{"archive", "FROM BASE\nADD a.tar /t\n", func(t *testing.T, p *pair) { must(t, os.WriteFile(p.path("a.tar"), tarOf("g"), 0o644)) }, "M"},
		{"URL, same content", "FROM BASE\nADD WEB/f /f\n", func(*testing.T, *pair) {}, "h"},
		{"URL, new content", "FROM BASE\nADD WEB/f /f\n", func(_ *testing.T, p *pair) { p.content.Store("new") }, "M"},

		// Bases.
		{"base with other layers", "FROM BASE\nRUN echo x\n", func(t *testing.T, p *pair) {
			img, err := mutate.AppendLayers(p.base, static.NewLayer(tarOf("new"), types.OCIUncompressedLayer))
			must(t, err)
			p.Push(t, "busybox:latest", img)
		}, "M"},
		{"base with another config", "FROM BASE\nRUN echo x\n", func(t *testing.T, p *pair) {
			img, err := mutate.CreatedAt(p.base, v1Time(1e9))
			must(t, err)
			conf, err := img.ConfigFile()
			must(t, err)
			conf.Config.Labels = map[string]string{"a": "b"}
			img, err = mutate.ConfigFile(img, conf)
			must(t, err)
			img, ok := mutate.Annotations(img, map[string]string{"a": "b"}).(v1.Image)
			if !ok {
				t.Fatal("an image with annotations is none")
			}
			p.Push(t, "busybox:latest", img)
		}, "h"},
		{"base with another environment", "FROM BASE\nCOPY file /x\nRUN echo x\n", func(t *testing.T, p *pair) {
			img, err := mutate.Config(p.base, v1Env("A=1"))
			must(t, err)
			p.Push(t, "busybox:latest", img)
		}, "hM"},
		{"platform of the same files", "FROM BASE\nCOPY file /x\n", func(t *testing.T, p *pair) {
			p.request.Frontend.Platforms = []ocispecs.Platform{{OS: "linux", Architecture: "arm64"}}
		}, "h"},
		{"platform", "FROM BASE\nCOPY file /x\n", func(t *testing.T, p *pair) {
			p.Push(t, "busybox:latest", registrytest.Index(t, p.base, registrytest.Image(t, "linux/arm64")))
			p.request.Frontend.Platforms = []ocispecs.Platform{{OS: "linux", Architecture: "arm64"}}
		}, "M"},

		// Mounts.
		{"value of a secret", "FROM BASE\nRUN --mount=type=secret,id=s cat /run/secrets/s\n", func(_ *testing.T, p *pair) { p.secrets = pairSecrets{"s": "two"} }, "h"},
		{"value of a secret in a variable", "FROM BASE\nRUN --mount=type=secret,id=s,env=S echo\n", func(_ *testing.T, p *pair) { p.secrets = pairSecrets{"s": "two"} }, "h"},
		{"secret not given any more", "FROM BASE\nRUN --mount=type=secret,id=s cat /run/secrets/s\n", func(_ *testing.T, p *pair) { p.secrets = pairSecrets{} }, "h"},
		{"name of a secret", "FROM BASE\nRUN --mount=type=secret,id=s,target=/s cat /s\n", func(t *testing.T, p *pair) {
			p.secrets = pairSecrets{"t": "one"}
			replace("id=s", "id=t")(t, p)
		}, "M"},
		{"place of a secret", "FROM BASE\nRUN --mount=type=secret,id=s,target=/s true\n", replace("/s ", "/t "), "M"},
		{"cache mount", "FROM BASE\nRUN --mount=type=cache,target=/c echo $RANDOM >/c/x\n", func(*testing.T, *pair) {}, "h"},
		{"name of a cache mount", "FROM BASE\nRUN --mount=type=cache,id=a,target=/c echo >/c/x\n", replace("id=a", "id=b"), "M"},
		{"sharing of a cache mount", "FROM BASE\nRUN --mount=type=cache,id=a,target=/c echo >/c/x\n", replace("id=a", "id=a,sharing=locked"), "M"},
		{"tmpfs", "FROM BASE\nRUN --mount=type=tmpfs,target=/c true\n", replace("/c", "/d"), "M"},
		{"size of a tmpfs", "FROM BASE\nRUN --mount=type=tmpfs,target=/c,size=1m true\n", replace("1m", "2m"), "M"},
		{"bind mount, that file", "FROM BASE\nRUN --mount=target=/c,source=dir cat /c/x >/x\n", put("dir/x", "z"), "M"},
		{"bind mount, another file", "FROM BASE\nRUN --mount=target=/c,source=dir cat /c/x >/x\n", put("other", "z"), "h"},
		{"bind mount of the whole context", "FROM BASE\nRUN --mount=target=/c cat /c/file >/x\n", put("other", "z"), "M"},
		{
			"bind mount, times only", "FROM BASE\nRUN --mount=target=/c,source=dir cat /c/x >/x\n",
			onContext("dir/x", func(p string) error { return os.Chtimes(p, time.Unix(1, 0), time.Unix(2, 0)) }), "h",
		},
		{"bind mount from a stage, another file", "FROM BASE AS s\nRUN mkdir /d; echo 1 >/d/1; echo 2 >/2\nFROM BASE\nRUN --mount=from=s,source=/d,target=/m cat /m/1 >/1\n", replace("echo 2", "echo 3"), "Mc"},
		{"bind mount becomes writable", "FROM BASE\nRUN --mount=target=/c true\n", replace("=/c", "=/c,rw"), "M"},
		{"network", "FROM BASE\nRUN echo x\n", replace("RUN", "RUN --network=none"), "M"},
		{"host", "FROM BASE\nRUN echo x\n", func(_ *testing.T, p *pair) { p.request.Frontend.AddHosts = []string{"a:127.0.0.2"} }, "M"},
		{"limit", "FROM BASE\nRUN echo x\n", func(_ *testing.T, p *pair) { p.request.Frontend.Ulimits = []string{"nofile=100:100"} }, "M"},

		// How layers are written.
		{"compression", "FROM BASE\nRUN echo x\n", func(_ *testing.T, p *pair) { p.request.Pack.Level = 1 }, "M"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, b, c.docker)
			must(t, os.WriteFile(p.path("a.tar"), tarOf("f"), 0o644))
			p.write(t, "dir/a-b", "1")
			p.write(t, "dir/c", "2")
			if rest, ok := strings.CutPrefix(c.docker, "# ignore: "); ok {
				list, _, _ := strings.Cut(rest, "\n")
				p.write(t, ".dockerignore", strings.ReplaceAll(list, " ", "\n"))
			}
			l := directory(t, t.TempDir())
			p.cached(t.Context(), t, p.build(t), l)
			c.change(t, p)
			got, steps := p.cached(t.Context(), t, p.build(t), l)
			if m := marks(steps); m != c.want {
				t.Errorf("got %s, want %s: %+v", m, c.want, steps)
			}
			if !strings.ContainsAny(c.want, "hc") || strings.Contains(c.name, "not given") {
				return
			}
			res := p.run(t, p.build(t))
			if plain := digest(t, res.Artifact); plain != got {
				t.Errorf("with the cache the image is %s, without %s", got, plain)
			}
		})
	}
}

func tarOf(names ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(n)), ModTime: time.Unix(0, 0)}); err != nil {
			panic(err)
		}
		fmt.Fprint(w, n)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func v1Time(sec int64) v1.Time { return v1.Time{Time: time.Unix(sec, 0)} }

func v1Env(env ...string) v1.Config { return v1.Config{Env: env} }
