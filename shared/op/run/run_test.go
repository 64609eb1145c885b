package run_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/sandbox"
)

func TestExit(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		for _, c := range []struct {
			script string
			valid  []int32
			code   int // 0 for success
			signal syscall.Signal
			text   string
		}{
			{script: "exit 0"},
			{script: "exit 42", code: 42, text: `process "sh -c exit 42" did not complete successfully: exit code: 42`},
			{script: "exit 42", valid: []int32{0, 42}},
			{script: "exit 255", code: 255, text: "exit code: 255"},
			{script: "exec sleep 43210", code: 137, signal: syscall.SIGKILL, text: "killed by signal 9"},
			{script: "exec sleep 43210", valid: []int32{137}, code: 137, signal: syscall.SIGKILL, text: "signal 9"},
			{script: "sh -c 'kill -TERM $$'; exit $?", code: 143, text: "exit code: 143"},
			{script: "nosuch 2>/dev/null", code: 127, text: "exit code: 127"},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			var killer sync.WaitGroup
			killer.Go(func() { killSleepers(ctx, t, "43210") })
			r := b.run(t.Context(), step(c.script, func(op *graph.Exec) { op.ValidExitCodes = c.valid }))
			cancel()
			killer.Wait()
			exit, failed := errors.AsType[*run.ExitError](r.err)
			switch {
			case failed != (c.code != 0) || !failed && r.err != nil:
				t.Errorf("%s: %v", c.script, r.err)
			case failed && (exit.ExitCode() != c.code || exit.Signal != c.signal || !strings.Contains(exit.Error(), c.text)):
				t.Errorf("%s: code %d, signal %d, %q", c.script, exit.ExitCode(), exit.Signal, exit)
			}
		}
		r := b.run(t.Context(), step("", func(op *graph.Exec) { op.Args = []string{"/bin/nosuch"} }))
		if e, ok := errors.AsType[*sandbox.ExecError](r.err); !ok || e.Name != "/bin/nosuch" {
			t.Errorf("a program that is not there: %v", r.err)
		}
		// Nothing of the failed steps is left but what the next one can use.
		b.run(t.Context(), step("ls app 2>/dev/null || echo none")).want(t, "none\n")
	})
}

// TestRefused has steps that ask for what is not offered.
func TestRefused(t *testing.T) {
	b := newBed(t, "chroot")
	for want, change := range map[string]func(*graph.Exec){
		"--security=insecure":     func(op *graph.Exec) { op.Insecure = true },
		"--network=host":          func(op *graph.Exec) { op.Network = graph.NetworkHost },
		"--device=gpu":            func(op *graph.Exec) { op.Devices, op.OptionalDevices = []string{"nic", "gpu"}, []string{"nic"} },
		"--cgroup-parent":         func(op *graph.Exec) { op.CgroupParent = "x" },
		"resource limit memory=1": func(op *graph.Exec) { op.Limits = []string{"memory=1"} },
	} {
		_, ok := errors.AsType[*run.Unsupported](b.run(t.Context(), step("true", change)).err)
		if err := b.run(t.Context(), step("true", change)).err; !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	b.run(t.Context(), step("echo ran", func(op *graph.Exec) { op.Devices, op.OptionalDevices = []string{"gpu"}, []string{"gpu"} })).want(t, "ran\n")
	b.Allow.NetworkHost = true
	b.run(t.Context(), step("echo ran", func(op *graph.Exec) { op.Network = graph.NetworkHost })).want(t, "ran\n")
	if r := b.run(t.Context(), step("", func(op *graph.Exec) { op.Args = nil })); r.err == nil {
		t.Error("a step without a command ran")
	}
}

func TestEnvironment(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		op := step("/bin/env | /bin/grep -v -e ^PWD= -e ^SHLVL= -e ^OLDPWD= | /bin/sort; ulimit -n")
		op.Args[0], op.Env, op.ProxyEnv = "/bin/sh", []string{"A=1"}, []string{"http_proxy=http://p"}
		op.Ulimits = []graph.Ulimit{{Name: "nofile", Soft: 77, Hard: 88}}
		b.run(t.Context(), op).want(t, "A=1\nHOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nhttp_proxy=http://p\n77\n")
	})
}

// TestBackground ends what a step leaves running, before its layer is taken.
func TestBackground(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		start := time.Now()
		r := b.with("app/").run(t.Context(), step("(while true; do echo x >>app/f; done) & setsid sleep 54321 & sleep 0.1; echo done"))
		r.want(t, "done\n")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := running(t, "54321"); n != 0 {
			t.Errorf("%d processes are left", n)
		}
		if got := r.changes(t); !strings.HasPrefix(got, "d 755 0:0 app\nf 644 0:0 app/f \"x\\n") {
			t.Errorf("the layer has %.100s", got)
		}
	})
}

func TestCancel(t *testing.T) {
	overBoth(t, func(t *testing.T, b *bed) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
		start := time.Now()
		r := b.run(ctx, step("sleep 65432 & sleep 65432", mount(cache("/c")), mount(tmpfs("/t")), secret(graph.SecretMount{ID: "token", Optional: true}, "/s")))
		if !errors.Is(r.err, cause) || time.Since(start) > 5*time.Second {
			t.Errorf("got %v after %v", r.err, time.Since(start))
		}
		if n := running(t, "65432"); n != 0 {
			t.Errorf("%d processes are left", n)
		}
		// One that waits for a cache that another step holds.
		locked := cache("/c")
		locked.Cache.Sharing = graph.SharingLocked
		held, done := context.WithCancel(t.Context())
		ended := make(chan result)
		go func() { ended <- b.run(held, step("echo 1 >c/held; sleep 76543", mount(locked))) }()
		for running(t, "76543") < 1 {
			time.Sleep(10 * time.Millisecond)
		}
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(cause) })
		if r := b.run(ctx, step("true", mount(locked))); !errors.Is(r.err, cause) {
			t.Errorf("a step that waited: %v", r.err)
		}
		done()
		<-ended
		b.run(t.Context(), step("ls c", mount(locked))).want(t, "held\n")
	})
}

// killSleepers kills all that sleep for so long, until ctx ends: from outside,
// since the first process of a pid namespace is deaf to all other signals.
func killSleepers(ctx context.Context, t testing.TB, word string) {
	for ctx.Err() == nil {
		for _, pid := range sleepers(t, word) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// running counts the processes that sleep for so long.
func running(t testing.TB, word string) int { return len(sleepers(t, word)) }

func sleepers(t testing.TB, word string) (pids []int) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && strings.HasPrefix(string(b), "sleep\x00"+word) {
			pids = append(pids, pid)
		}
	}
	return pids
}
