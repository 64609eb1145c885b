package run_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op/run"
)

type secrets map[string]string

func (s secrets) Secret(id string) ([]byte, bool, error) {
	if id == "broken" {
		return nil, false, errors.New("no such vault")
	}
	v, ok := s[id]
	return []byte(v), ok, nil
}

func secret(m graph.SecretMount, target string) func(*graph.Exec) {
	return mount(graph.Mount{Type: graph.MountSecret, Target: target, Secret: &m})
}

func TestSecrets(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		b.Secrets = secrets{"token": "s3cret", "empty": ""}
		want := func(out string, op *graph.Exec) {
			t.Helper()
			r := b.run(t.Context(), op)
			r.want(t, out)
			if got := r.changes(t); got != "" {
				t.Errorf("the layer has\n%s", got)
			}
		}
		want("s3cret\n400 0:0\n", step("cat /run/secrets/token; echo; stat -c '%a %u:%g' /run/secrets/token", secret(graph.SecretMount{ID: "token", Mode: 0o400}, "/run/secrets/token")))
		want("440 7:8\n", step("stat -c '%a %u:%g' /x", secret(graph.SecretMount{ID: "token", Mode: 0o440, UID: 7, GID: 8}, "/x")))
		want("s3cret", step("cat /etc/passwd", secret(graph.SecretMount{ID: "token", Mode: 0o400}, "/etc/passwd")))
		want("", step("cat /x", secret(graph.SecretMount{ID: "empty", Mode: 0o400}, "/x")))
		want("none\n", step("ls /run/secrets/x 2>/dev/null || echo none", secret(graph.SecretMount{ID: "none", Optional: true}, "/run/secrets/x")))
		env := func(e ...graph.SecretEnv) func(*graph.Exec) { return func(op *graph.Exec) { op.SecretEnv = e } }
		want("s3cret s3cret\n", step("echo $TOKEN $(cat /x)", env(graph.SecretEnv{ID: "token", Name: "TOKEN"}), secret(graph.SecretMount{ID: "token"}, "/x")))
		want("unset\n", step("echo ${TOKEN-unset}", env(graph.SecretEnv{ID: "none", Name: "TOKEN", Optional: true})))
		want("s3cret 1\n", step("echo $TOKEN $(env | grep -c ^TOKEN=)", env(graph.SecretEnv{ID: "token", Name: "TOKEN"}), func(op *graph.Exec) { op.Env = append(op.Env, "TOKEN=before") }))
		want("/bin\n", step("echo $PATH"))

		for id, want := range map[string]string{"none": "--secret id=none,src=FILE", "broken": "no such vault"} {
			for _, change := range []func(*graph.Exec){secret(graph.SecretMount{ID: id}, "/x"), env(graph.SecretEnv{ID: id, Name: "X"})} {
				if r := b.run(t.Context(), step("true", change)); r.err == nil || !strings.Contains(r.err.Error(), want) {
					t.Errorf("secret %s: %v", id, r.err)
				}
			}
		}
		left, err := filepath.Glob("/dev/shm/strake-secret-*")
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// agents is an agent in memory that answers each byte with the next one.
type agents struct{ dialed int }

func (a *agents) Dial(_ context.Context, id string) (io.ReadWriteCloser, bool, error) {
	if id == "broken" {
		return nil, false, errors.New("no such agent")
	}
	if id != "default" {
		return nil, false, nil
	}
	a.dialed++
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		buf := make([]byte, 1)
		for {
			if _, err := ours.Read(buf); err != nil {
				return
			}
			buf[0]++
			if _, err := ours.Write(buf); err != nil {
				return
			}
		}
	}()
	return theirs, true, nil
}

// client lays a program on the base that speaks to sockets.
func (b *bed) client(t *testing.T) *bed {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin/client"), "./testdata/client")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, os.Chmod(dir, 0o755))
	c := *b
	c.base = b.base.With(b.Workspace.FromTable(tableOf(t, dir)))
	return &c
}

func TestSSH(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		ssh := func(id string, optional bool) func(*graph.Exec) {
			return mount(graph.Mount{Type: graph.MountSSH, Target: "/run/buildkit/ssh_agent.0", Secret: &graph.SecretMount{ID: id, Mode: 0o600, UID: 1000, GID: 1001, Optional: optional}})
		}
		b = b.client(t)
		const script = "stat -c '%F %a %u:%g' /run/buildkit/ssh_agent.0; for i in 1 2; do client ask /run/buildkit/ssh_agent.0; done"
		r := b.run(t.Context(), step(script, ssh("default", false), func(op *graph.Exec) { op.User = "1000:1001" }))
		r.want(t, "socket 600 1000:1001\nbb")
		if got := r.changes(t); got != "" {
			t.Errorf("the layer has\n%s", got)
		}
		// One that still holds a connection when it ends.
		b.run(t.Context(), step("client ask /run/buildkit/ssh_agent.0 stay >/said & until [ -s /said ]; do sleep 0.05; done; cat /said", ssh("default", false))).want(t, "b")
		b.run(t.Context(), step("ls /run 2>/dev/null || echo none", ssh("other", true))).want(t, "none\n")
		if r := b.run(t.Context(), step("true", ssh("other", false))); !errors.Is(r.err, run.ErrNoAgent) || !strings.Contains(r.err.Error(), "--ssh other") {
			t.Errorf("an agent that was not given: %v", r.err)
		}
		if r := b.run(t.Context(), step("true", ssh("broken", true))); r.err == nil || !strings.Contains(r.err.Error(), "no such agent") {
			t.Errorf("a broken agent: %v", r.err)
		}
		left, err := filepath.Glob(b.Workspace.Path() + "/*ssh*")
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}
