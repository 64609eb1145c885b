package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Container is an image unpacked, ready to run commands in with runc.
type Container struct {
	dir    string
	config v1.Config
	count  int
}

// Unpack makes a container of the image. It needs root, as containers with ids of their own do.
func Unpack(t *testing.T, img v1.Image) *Container {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running the image's programs with runc needs root")
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := &Container{dir: t.TempDir(), config: file.Config}
	root := filepath.Join(c.dir, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	flat := mutate.Extract(img)
	defer flat.Close()
	cmd := exec.CommandContext(t.Context(), "tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", root)
	cmd.Stdin = flat
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack the image: %v\n%s", err, b)
	}
	return c
}

// Run runs argv, or what the image runs by itself if argv is empty, and returns what it printed.
func (c *Container) Run(t *testing.T, argv ...string) string {
	t.Helper()
	c.count++
	out, err := c.run(t.Context(), argv)
	if err != nil {
		t.Fatalf("run %s in the image: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func (c *Container) run(ctx context.Context, argv []string) ([]byte, error) {
	if len(argv) == 0 {
		argv = append(slices.Clone(c.config.Entrypoint), c.config.Cmd...)
	}
	b, err := json.Marshal(c.spec(argv))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), b, 0o644); err != nil {
		return nil, err
	}
	id := "strake-test-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(filepath.Dir(c.dir)) + strconv.Itoa(c.count)
	cmd := exec.CommandContext(ctx, "runc", "--root", filepath.Join(c.dir, "runc"), "run", "--bundle", c.dir, id)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.Bytes(), err
}

// spec is the smallest runtime configuration that server software starts under. The user is root, for a test says
// itself whom it wants to be.
func (c *Container) spec(argv []string) map[string]any {
	caps := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_SETFCAP", "CAP_MKNOD", "CAP_AUDIT_WRITE",
	}
	cwd := c.config.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	mount := func(target, kind string, options ...string) map[string]any {
		return map[string]any{"destination": target, "type": kind, "source": kind, "options": options}
	}
	namespaces := []map[string]string{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}}
	return map[string]any{
		"ociVersion": "1.0.2",
		"hostname":   "image",
		"root":       map[string]any{"path": "rootfs"},
		"process": map[string]any{
			"args": argv, "cwd": cwd, "env": c.config.Env, "user": map[string]int{"uid": 0, "gid": 0},
			"capabilities": map[string]any{"bounding": caps, "effective": caps, "permitted": caps},
		},
		"mounts": []any{
			mount("/proc", "proc"),
			mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
			mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777"),
		},
		"linux": map[string]any{"namespaces": namespaces},
	}
}

// Root is the directory that holds the image's files.
func (c *Container) Root() string { return filepath.Join(c.dir, "rootfs") }
