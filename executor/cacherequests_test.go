package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// runner builds in processes of its own, as CI does: nothing is left of one build
// for the next but what is in the registry.
type runner struct {
	*registrytest.Server
	t       testing.TB
	context string
}

func newRunner(t testing.TB) *runner {
	t.Helper()
	r := &runner{registrytest.New(t), t, t.TempDir()}
	img, err := busybox("")
	if err != nil {
		t.Fatal(err)
	}
	r.Push(t, "busybox:1", img)
	return r
}

func (r *runner) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.context, name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// build pushes to app:1 and gives stdout and stderr.
func (r *runner) build(args ...string) (stdout, stderr string) {
	r.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	// testscript's main takes the name for the program to be.
	link := filepath.Join(r.t.TempDir(), "executor")
	if err := os.Symlink(exe, link); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, link, append([]string{"-c", r.context, "--build-arg", "BASE=" + r.Ref("busybox:1"), "-d", r.Ref("app:1"), "--reproducible"}, args...)...)
	home := r.t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "DOCKER_CONFIG="+home, "KANIKO_DIR="+filepath.Join(home, "strake"), "NO_COLOR=1")
	var out, log strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%v\n%s", err, log.String())
	}
	return out.String(), log.String()
}

const manySteps = `ARG BASE=scratch
FROM $BASE AS one
WORKDIR /one
COPY one .
RUN cat one >a
RUN cat a a >b
FROM $BASE AS two
COPY two /
RUN cat two >/c
FROM $BASE
WORKDIR /w
COPY --from=one /one/b /b
COPY --from=two /c /c
RUN cat /b /c >d
COPY last .
RUN cat last >e
`

func newManySteps(t testing.TB) *runner {
	t.Helper()
	r := newRunner(t)
	r.write("Dockerfile", manySteps)
	for _, name := range []string{"one", "two", "last"} {
		r.write(name, name+"\n")
	}
	return r
}

// TestCachedBuildRequests counts what a build asks that has nothing to do. The
// bounds are of requests: they cost a round trip each, while time depends on the
// machine.
func TestCachedBuildRequests(t *testing.T) {
	r := newManySteps(t)
	const steps = 12
	first, _ := r.build("--cache")
	r.Forget()
	r.Fail(registrytest.Fault{Delay: 20 * time.Millisecond})
	start := time.Now()
	again, log := r.build("--cache")
	t.Logf("with 20 ms of latency: %v", time.Since(start))
	if first != again {
		t.Errorf("built %s, then %s", first, again)
	}
	if !strings.Contains(log, "cache: 12 of 12 steps found") {
		t.Error(log)
	}
	if n := r.Count("GET", "/v2/app/cache/manifests/"); n > steps {
		t.Errorf("%d questions about %d steps", n, steps)
	}
	for _, q := range []struct{ method, path string }{{"GET", "app/cache/blobs"}, {"POST", ""}, {"PUT", "/manifests/layers"}, {"PATCH", ""}} {
		if n := r.Count(q.method, q.path); n > 0 && q.path != "" || n > 1 { // one POST tries whether pushing is allowed
			t.Errorf("%s %s: %d times", q.method, q.path, n)
		}
	}
	// Base: ping, manifest, config. Cache: ping and the steps. Push: ping, trial
	// and its end, the image's layers and tag.
	if n := len(r.Requests()); n > 3+1+steps+3+9 {
		for _, q := range r.Requests() {
			t.Log(q.Method, q.Path)
		}
		t.Errorf("%d requests", n)
	}
	// Layers that are new to a repository are mounted there, and not moved.
	r.Heal()
	r.Forget()
	if out, _ := r.build("--cache", "--cache-repo", r.Ref("app/cache"), "-d", r.Ref("elsewhere:1")); !strings.Contains(out, "elsewhere@") {
		t.Error(out)
	}
	for _, q := range r.Requests() {
		if q.Method == "GET" && strings.Contains(q.Path, "app/cache/blobs") || q.Method == "PUT" && strings.Contains(q.Path, "elsewhere/blobs") && strings.Contains(q.Query, "layer") {
			t.Error("moved:", q.Method, q.Path)
		}
	}
}

// TestCachedBuildChanges changes one thing and sees what is carried out again.
func TestCachedBuildChanges(t *testing.T) {
	r := newManySteps(t)
	r.build("--cache")
	for _, c := range []struct {
		name   string
		change func()
		want   []string
	}{
		{"last step", func() { r.write("Dockerfile", strings.Replace(manySteps, ">e", ">f", 1)) }, []string{"RUN cat last >f"}},
		{"early step, same result", func() {
			r.write("Dockerfile", strings.Replace(manySteps, "RUN cat one >a", "RUN cat one >a; true", 1))
		}, []string{"RUN cat one >a; true"}},
		{"one stage, same files", func() {
			r.write("Dockerfile", strings.Replace(manySteps, "RUN cat two >/c", "RUN cat two >/c; echo other >/other", 1))
		}, []string{"RUN cat two >/c; echo other >/other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change()
			_, log := r.build("--cache")
			if got := carriedOut(log); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("carried out %q, want %q\n%s", got, c.want, log)
			}
		})
	}
}

// carriedOut lists the instructions that were done.
func carriedOut(log string) (out []string) {
	names := make(map[string]string)
	for line := range strings.Lines(log) {
		n, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(n, "#") {
			continue
		}
		if strings.HasPrefix(rest, "[") {
			names[n] = rest[strings.Index(rest, "] ")+2:]
		}
		if verb, _, _ := strings.Cut(names[n], " "); strings.HasPrefix(rest, "DONE") && (verb == "RUN" || verb == "COPY" || verb == "WORKDIR") {
			out = append(out, names[n])
		}
	}
	return out
}
