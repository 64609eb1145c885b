package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh/agent"

	"github.com/strake-build/strake/shared/build"
)

func TestParseSecret(t *testing.T) {
	t.Setenv("SECRET_IN_ENV", "value")
	for _, tt := range []struct {
		flag string
		id   string
		want secretSource
		err  string
	}{
		{flag: "id=a,src=/f", id: "a", want: secretSource{file: "/f"}},
		{flag: "id=a,source=/f", id: "a", want: secretSource{file: "/f"}},
		{flag: "ID=a,SRC=/f", id: "a", want: secretSource{file: "/f"}},
		{flag: "id=a,env=V", id: "a", want: secretSource{env: "V"}},
		{flag: "type=file,id=a,src=/f", id: "a", want: secretSource{file: "/f"}},
		{flag: "type=env,id=a,src=V", id: "a", want: secretSource{env: "V"}},
		{flag: "type=env,id=a,env=V", id: "a", want: secretSource{env: "V"}},
		{flag: "id=SECRET_IN_ENV", id: "SECRET_IN_ENV", want: secretSource{env: "SECRET_IN_ENV"}},
		{flag: "id=SECRET_IN_ENV,type=file", id: "SECRET_IN_ENV", want: secretSource{file: "SECRET_IN_ENV"}},
		{flag: "id=NOT_IN_ENV", id: "NOT_IN_ENV", want: secretSource{file: "NOT_IN_ENV"}},
		{flag: `id=a,"src=/with,comma"`, id: "a", want: secretSource{file: "/with,comma"}},
		{flag: "id=a,src=/f=g", id: "a", want: secretSource{file: "/f=g"}},
		{flag: "src=/f", err: "the id is missing"},
		{flag: "id=,src=/f", err: "the id is missing"},
		{flag: "id", err: `field "id" is not KEY=VALUE`},
		{flag: "id=a,required=true", err: `key "required" is not known`},
		{flag: "id=a,type=http", err: `type "http" is not file or env`},
		{flag: "id=a,src=/f,env=V", id: "a", want: secretSource{file: "/f", env: "V"}}, // the variable counts
		{flag: "", err: "EOF"},
		{flag: `id="a`, err: `bare "`},
	} {
		t.Run(tt.flag, func(t *testing.T) {
			id, s, err := parseSecret(tt.flag)
			if !wanted(t, err, tt.err) {
				return
			}
			if id != tt.id || s != tt.want {
				t.Errorf("got %q %+v, want %q %+v", id, s, tt.id, tt.want)
			}
		})
	}
}

// wanted tells whether there is a result to look at.
func wanted(t *testing.T, err error, part string) bool {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Fatal(err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Fatalf("error %v, want one with %q", err, part)
	}
	return err == nil
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, bytes.Repeat([]byte{'x'}, size), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Setenv("EMPTY_SECRET", "")
	s, err := parseSecrets([]string{
		"id=largest,src=" + write("largest", maxSecret), "id=larger,src=" + write("larger", maxSecret+1),
		"id=none,src=" + dir + "/none", "id=unset,env=NOT_IN_ENV", "id=empty,env=EMPTY_SECRET",
		"id=twice,src=" + dir + "/none", "id=twice,src=" + write("twice", 2), "id=dir,src=" + dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]struct {
		size int
		err  string
	}{
		"largest": {size: maxSecret},
		"larger":  {err: "more than the limit of 512000"},
		"none":    {err: "no such file"},
		"unset":   {err: "the variable NOT_IN_ENV is not set"},
		"empty":   {size: 0},
		"twice":   {size: 2},
		"dir":     {err: "is a directory"},
	} {
		t.Run(id, func(t *testing.T) {
			b, ok, err := s.Secret(id)
			if wanted(t, err, want.err) && (!ok || len(b) != want.size) {
				t.Errorf("%d bytes, %v; want %d", len(b), ok, want.size)
			}
		})
	}
	if _, ok, err := s.Secret("unheard"); ok || err != nil {
		t.Errorf("a secret that nobody gave: %v, %v", ok, err)
	}
}

func TestParseAgents(t *testing.T) {
	dir := t.TempDir()
	socket, key, other, text := dir+"/s", dir+"/key", dir+"/other", dir+"/text"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for p, b := range map[string][]byte{key: privateKey(t), other: privateKey(t), text: []byte("no key")} {
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", dir+"/of-the-user")
	for _, tt := range []struct {
		flag, id, socket string
		keys             int
		err              string
	}{
		{flag: "default", id: "default", socket: dir + "/of-the-user"},
		{flag: "", id: "default", socket: dir + "/of-the-user"},
		{flag: "github", id: "github", socket: dir + "/of-the-user"},
		{flag: "x=" + socket, id: "x", socket: socket},
		{flag: "x=" + key, id: "x", keys: 1},
		{flag: "x=" + key + "," + other, id: "x", keys: 2},
		{flag: "x=" + socket + "," + key, err: "one socket, or keys, but not both"},
		{flag: "x=" + dir + "/none", err: "no such file"},
		{flag: "x=" + text, err: "key " + text},
	} {
		t.Run(tt.flag, func(t *testing.T) {
			all, err := parseAgents([]string{tt.flag})
			if !wanted(t, err, tt.err) {
				return
			}
			got := all[tt.id]
			if got.socket != tt.socket || tt.keys == 0 != (got.keys == nil) {
				t.Fatalf("got %+v", got)
			}
			if tt.keys > 0 {
				wantKeys(t, all, tt.id, tt.keys)
			}
		})
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, err := parseAgents([]string{"default"}); err == nil || !strings.Contains(err.Error(), "SSH_AUTH_SOCK is not set") {
		t.Errorf("no socket: %v", err)
	}
	if _, ok, err := (agents{}).Dial(t.Context(), "default"); ok || err != nil {
		t.Errorf("an agent that nobody gave: %v, %v", ok, err)
	}
}

// wantKeys asks an agent as a step would.
func wantKeys(t *testing.T, a agents, id string, n int) {
	t.Helper()
	c, ok, err := a.Dial(t.Context(), id)
	if err != nil || !ok {
		t.Fatalf("dial: %v, %v", ok, err)
	}
	defer c.Close()
	list, err := agent.NewClient(c).List()
	if err != nil || len(list) != n {
		t.Errorf("the agent has %v (%v), want %d", list, err, n)
	}
}

func TestAgentsDialSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseAgents([]string{"x=" + socket})
	if err != nil {
		t.Fatal(err)
	}
	c, ok, err := a.Dial(t.Context(), "x")
	if err != nil || !ok {
		t.Fatalf("dial: %v, %v", ok, err)
	}
	c.Close()
	l.Close()
	if _, ok, err := a.Dial(t.Context(), "x"); ok || err == nil {
		t.Error("a socket that is gone was dialled")
	}
}

// parse gives what the flags say, or the message of what is wrong with them.
func parse(t *testing.T, args ...string) (req build.Request, msg string) {
	t.Helper()
	t.Setenv("KANIKO_DIR", t.TempDir())
	c := &command{stdout: io.Discard, stderr: io.Discard, program: program()}
	act := func(x *cli.Context) (err error) {
		req, err = request(x)
		return err
	}
	var err error
	if c.settings, err = c.program.Resolve(args, os.Environ()); err == nil {
		app := c.app()
		app.Action = act
		err = app.RunContext(t.Context(), append([]string{"executor"}, c.settings.CommandLine()...))
	}
	if err != nil {
		msg = err.Error()
	}
	return req, msg
}

func platformNames(r build.Request) (names []string) {
	for _, p := range r.Frontend.Platforms {
		names = append(names, platforms.Format(p))
	}
	return names
}

func TestRequest(t *testing.T) {
	t.Setenv("IN_ENV", "value")
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		get  func(r build.Request) any
		want any
	}{
		{nil, func(r build.Request) any { return r.Context }, "/workspace"},
		{nil, func(r build.Request) any { return r.Dockerfile }, "Dockerfile"},
		{nil, func(r build.Request) any { return r.Isolation.View }, "auto"},
		{nil, func(r build.Request) any { return r.Pack.Level }, 0},
		{nil, func(r build.Request) any { return r.Epoch }, (*time.Time)(nil)},
		{[]string{"-c", "dir:///a/b"}, func(r build.Request) any { return r.Context }, "/a/b"},
		{[]string{"-c", "/a", "--context-sub-path", "b/c"}, func(r build.Request) any { return r.Context }, "/a/b/c"},
		{[]string{"-c", "/a", "--context-sub-path", "../b"}, func(r build.Request) any { return r.Context }, "/a/b"},
		{[]string{"-c", "https://h/r.git#main"}, func(r build.Request) any { return r.Context != "" || r.Source == nil }, false},
		{[]string{"-c", "git@h:r.git"}, func(r build.Request) any { return r.Context != "" || r.Source == nil }, false},
		{[]string{"-b", "bucket"}, func(r build.Request) any { return r.Context != "" || r.Source == nil }, false},
		{[]string{"-c", "/a", "-f", "https://h/Dockerfile"}, func(r build.Request) any { return r.DockerfileSource == nil }, false},
		{
			[]string{"--build-arg", "A=1", "--build-arg", "B=", "--build-arg", "IN_ENV", "--build-arg", "NOT_IN_ENV", "--build-arg", "C=x=y,z"},
			func(r build.Request) any { return r.Frontend.BuildArgs },
			map[string]string{"A": "1", "B": "", "IN_ENV": "value", "C": "x=y,z"},
		},
		{[]string{"--build-arg", "A=1", "--build-arg", "A=2"}, func(r build.Request) any { return r.Frontend.BuildArgs["A"] }, "2"},
		{[]string{"--label", "a=1,b=2"}, func(r build.Request) any { return r.Frontend.Labels }, map[string]string{"a": "1,b=2"}},
		{
			[]string{"--annotation", "a.b/c=1", "--annotation", "manifest:d=2"},
			func(r build.Request) any { return r.Annotations.Manifest },
			map[string]string{"a.b/c": "1", "d": "2"},
		},
		{[]string{"--annotation", "example.org:8080/k=1"}, func(r build.Request) any { return r.Annotations.Manifest }, map[string]string{"example.org:8080/k": "1"}},
		{
			[]string{"--platform", "linux/arm64, linux/arm/v7", "--platform", "linux/amd64"},
			func(r build.Request) any { return platformNames(r) },
			[]string{"linux/arm64", "linux/arm/v7", "linux/amd64"},
		},
		{[]string{"--shm-size", "64m"}, func(r build.Request) any { return r.Frontend.ShmSize }, int64(64 << 20)},
		{[]string{"--allow", "network.host"}, func(r build.Request) any { return r.Allow.NetworkHost }, true},
		{[]string{"--allow", "security.insecure,network.host"}, func(r build.Request) any { return r.Allow.NetworkHost }, true},
		{[]string{"--compression", "zstd", "--compression-level", "19"}, func(r build.Request) any { return r.Pack.Level }, 19},
		{[]string{"--build-context", "a=" + dir}, func(r build.Request) any { return r.Locals[strings.TrimPrefix(r.Frontend.Contexts["a"], "local:")] }, dir},
		{[]string{"--build-context", "a=docker-image://x:1"}, func(r build.Request) any { return r.Frontend.Contexts["a"] }, "docker-image://x:1"},
		{
			[]string{"--opt", "hostname=h", "--opt", "add-hosts=a=192.0.2.1,b=192.0.2.2"},
			func(r build.Request) any { return append(r.Frontend.AddHosts, r.Frontend.Hostname) },
			[]string{"a=192.0.2.1", "b=192.0.2.2", "h"},
		},
		{
			[]string{"--add-host", "a:[2001:db8::1]", "--add-host", "b:2001:db8::2", "--add-host", "c=192.0.2.1"},
			func(r build.Request) any { return len(r.Frontend.AddHosts) }, 3,
		},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			r, msg := parse(t, tt.args...)
			if msg != "" {
				t.Fatal(msg)
			}
			if got := tt.get(r); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRequestMistakes(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--build-context a", "--build-context a: want KEY=VALUE"},
		{"--build-context =x", "--build-context =x: want KEY=VALUE"},
		{"--build-context a=oci-layout:///nowhere", "--build-context a=oci-layout:///nowhere: "},
		{"--platform linux/x/y/z", "--platform linux/x/y/z: "},
		{"--compression-level 10", "--compression-level 10: gzip has 1 to 9"},
		{"--compression zstd --compression-level 23", "--compression-level 23: zstd has 1 to 22"},
		{"--allow network.none", "--allow network.none: not known"},
		{"--shm-size 1x", "--shm-size 1x: "},
		{"--add-host a", "--add-host a: want NAME:IP"},
		{"--add-host :192.0.2.1", "--add-host :192.0.2.1: want NAME:IP"},
		{"--add-host a:host-gateway", `--add-host a:host-gateway: "host-gateway" is no IP address`},
		{"--ulimit nofile=2:1", "--ulimit nofile=2:1: "},
		{"--secret x", `--secret x: field "x" is not KEY=VALUE`},
		{"--annotation x:y=z", "--annotation x:y: the level x is not known"},
		{"-c ftp://x.tar", "--context: context ftp://x.tar: the kind ftp:// is not known"},
		{"-c git@h:r --git x=1", "--git x=1: no such key"},
		{"--git branch", "--git branch: want KEY=VALUE"},
		{"--context-limit ratio=x", "--context-limit ratio=x"},
		{"-c /a --context-checksum sha256:0", "a checksum is for archives and git"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			if _, msg := parse(t, strings.Fields(tt.args)...); !strings.Contains(msg, tt.want) {
				t.Errorf("got %q, want %q in it", msg, tt.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	if err := program().Check(); err != nil {
		t.Error(err)
	}
}
