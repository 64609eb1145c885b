package environments

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Container is one container of an environment. Its root lives as long as the test, whatever the number of runs, as
// that of a container does in which one command runs after another.
type Container struct {
	env      Environment
	image    *Image
	profiles Profiles
	dir      string
	extra    []bind
	count    int
}

// New makes a container of the image.
func New(t *testing.T, env Environment, image *Image, profiles Profiles) *Container {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making containers needs root")
	}
	// Not t.TempDir: its parents are closed to the container's user.
	dir, err := os.MkdirTemp("", "strake-"+env.Name+"-")
	if err != nil {
		t.Fatal(err)
	}
	c := &Container{env: env, image: image, profiles: profiles, dir: dir}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lower, err := image.lower(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.mountRoot(lower), c.pod()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Container) root() string { return filepath.Join(c.dir, "rootfs") }

func (c *Container) cwd() string {
	if d := c.image.Config.WorkingDir; d != "" {
		return d
	}
	return "/"
}

// Mount shows a directory or file of the machine in the container. In a user namespace it is given to the same ids
// there, as the kubelet's mounts are.
func (c *Container) Mount(t *testing.T, source, at string, readOnly bool) {
	t.Helper()
	if c.env.UserNamespace {
		if err := shift(source); err != nil {
			t.Fatal(err)
		}
	}
	c.extra = append(c.extra, bind{source, at, readOnly})
}

// Run is what a command in the container did.
type Run struct {
	Code   int
	Stdout string
	Stderr string
	Wall   time.Duration
	// CPU is the processor time of all that ran, which says more than Wall on a machine that does other things as well.
	CPU time.Duration
}

// Run runs a command as the container's first process. env comes after the image's.
func (c *Container) Run(ctx context.Context, argv []string, env ...string) (Run, error) {
	return c.Start(ctx, Process{Argv: argv, Env: env})
}

// Start runs a container's first process, and waits for it.
func (c *Container) Start(ctx context.Context, p Process) (Run, error) {
	spec, err := c.spec(ctx)
	if err != nil {
		return Run{}, err
	}
	spec.Process.Args = p.argv(c.image)
	spec.Process.Env = append(append([]string{"HOME=/root"}, c.image.Config.Env...), p.Env...)
	b, err := json.Marshal(spec)
	if err != nil {
		return Run{}, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), b, 0o644); err != nil {
		return Run{}, err
	}
	c.count++
	id := filepath.Base(c.dir) + "-" + strconv.Itoa(c.count)
	cmd := exec.CommandContext(ctx, "runc", "--root", filepath.Join(c.dir, "runc"), "run", "--bundle", c.dir, id)
	// runc ends its container when it is told to.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	run := Run{Stdout: stdout.String(), Stderr: stderr.String(), Wall: time.Since(start)}
	if cmd.ProcessState != nil {
		run.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		run.Code, err = cmd.ProcessState.ExitCode(), nil
	}
	if strings.Contains(run.Stderr, "runc run failed") {
		return run, fmt.Errorf("start the container: %s", run.Stderr)
	}
	return run, err
}

// close removes the container.
func (c *Container) close() error {
	kill := exec.Command("runc", "--root", filepath.Join(c.dir, "runc"), "delete", "--force", filepath.Base(c.dir)+"-"+strconv.Itoa(c.count))
	_ = kill.Run() // it is gone already, unless the test was cut short
	err := syscall.Unmount(c.root(), syscall.MNT_DETACH)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) {
		err = nil // it was not mounted yet
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}
