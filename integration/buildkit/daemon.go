// Package buildkit runs a private buildkitd, the builder that strake's meaning and speed are compared with.
package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Daemon is a running buildkitd.
type Daemon struct {
	// PID is the daemon's process.
	PID int

	bin    string
	socket string
	cmd    *exec.Cmd
}

// ErrUnavailable says that this machine cannot run the daemon.
var ErrUnavailable = errors.New("buildkitd is not available")

// Install compiles the pinned buildkitd and buildctl, unless that is done, and returns their directory.
func Install(ctx context.Context, root string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "buildkit"), "install")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("install buildkit: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Start runs the daemon of the directory bin with its state in dir. It takes Docker Hub's images from the mirror.
func Start(ctx context.Context, bin, dir, mirror string) (*Daemon, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: it needs root", ErrUnavailable)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(config, []byte(configuration(mirror)), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := &Daemon{bin: bin, socket: "unix://" + filepath.Join(dir, "sock")}
	d.cmd = exec.Command(filepath.Join(bin, "buildkitd"), "--config", config, "--root", filepath.Join(dir, "state"), "--addr", d.socket)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start buildkitd: %w", err)
	}
	d.PID = d.cmd.Process.Pid
	if err := d.wait(ctx); err != nil {
		tail, _ := os.ReadFile(log.Name())
		return nil, errors.Join(err, fmt.Errorf("buildkitd said:\n%s", tail), d.Close())
	}
	return d, nil
}

func configuration(mirror string) string {
	return fmt.Sprintf(`
insecure-entitlements = ["network.host"]
[worker.oci]
  enabled = true
  snapshotter = "overlayfs"
  binary = "runc"
  gc = false
  networkMode = "host"
[worker.containerd]
  enabled = false
[registry."docker.io"]
  mirrors = [%[1]q]
[registry.%[1]q]
  http = true
  insecure = true
`, mirror)
}

func (d *Daemon) wait(ctx context.Context) error {
	for range 100 {
		if err := d.Control(ctx, "debug", "workers"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("buildkitd does not answer")
}

// Control runs buildctl and makes its output the error's text.
func (d *Daemon) Control(ctx context.Context, args ...string) error {
	cmd := d.Command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("buildctl %s: %w\n%s", args[0], err, out.Bytes())
	}
	return nil
}

// Command is buildctl, speaking to this daemon.
func (d *Daemon) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(d.bin, "buildctl"), append([]string{"--addr", d.socket}, args...)...)
}

// Prune forgets every cached step and image.
func (d *Daemon) Prune(ctx context.Context) error { return d.Control(ctx, "prune", "--all") }

// Close ends the daemon and what it runs.
func (d *Daemon) Close() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = d.cmd.Wait() // it ends by our signal, which Wait calls an error
	return nil
}
