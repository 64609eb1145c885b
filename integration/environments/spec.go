package environments

import (
	"context"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// firstID is where the ids of a container with a user namespace of its own begin.
const (
	firstID = 200000
	idCount = 65536
)

// spec is the runtime configuration of the container, but for its process' arguments and environment.
func (c *Container) spec(ctx context.Context) (*specs.Spec, error) {
	e := c.env
	s := &specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "pod",
		Process:  &specs.Process{Cwd: c.cwd(), NoNewPrivileges: e.NoNewPrivs, User: specs.User{UID: e.UID, GID: e.UID}},
		Mounts:   c.mounts(),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace},
			},
			Resources: &specs.LinuxResources{Devices: devices(e.Devices)},
		},
	}
	bounding := e.Bounding
	if bounding == nil {
		bounding = e.Caps
	}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: bounding, Effective: e.Caps, Permitted: e.Caps}
	if !e.Unmasked {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	if e.UserNamespace {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: idCount}}
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	}
	var err error
	s.Linux.Seccomp, err = c.profiles.profile(ctx, e.Profile, s)
	return s, err
}

// mounts are those of a Kubernetes pod; Docker's differ in nothing that matters here but the service account.
func (c *Container) mounts() []specs.Mount {
	mount := func(at, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: at, Type: kind, Source: kind, Options: options}
	}
	sys := mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")
	if c.env.UserNamespace {
		// Only who owns the network namespace may mount one, and the network is the machine's, for its registry.
		sys = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
	}
	if c.env.Unmasked {
		sys.Options[len(sys.Options)-1] = "rw"
	}
	list := []specs.Mount{
		mount("/proc", "proc", "nosuid", "noexec", "nodev"),
		mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
		mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
		sys,
		mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
	}
	for _, m := range c.binds() {
		options := []string{"rbind", "rprivate", "rw"}
		if m.readOnly {
			options[2] = "ro"
		}
		list = append(list, specs.Mount{Destination: m.at, Type: "bind", Source: m.source, Options: options})
	}
	return list
}

type bind struct {
	source, at string
	readOnly   bool
}

// binds are what a kubelet mounts, and the caller's own.
func (c *Container) binds() []bind {
	list := []bind{
		{filepath.Join(c.dir, "pod", "resolv.conf"), "/etc/resolv.conf", false},
		{filepath.Join(c.dir, "pod", "hosts"), "/etc/hosts", false},
		{filepath.Join(c.dir, "pod", "hostname"), "/etc/hostname", false},
		{filepath.Join(c.dir, "pod", "termination-log"), "/dev/termination-log", false},
		{filepath.Join(c.dir, "pod", "token"), "/var/run/secrets/kubernetes.io/serviceaccount", true},
	}
	if c.env.Volume {
		list = append(list, bind{filepath.Join(c.dir, "pod", "volume"), "/builder", false})
	}
	return append(list, c.extra...)
}

// pod makes what a kubelet makes before it starts a container.
func (c *Container) pod() error {
	dir := filepath.Join(c.dir, "pod")
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	files := map[string]string{
		"resolv.conf": string(resolv), "hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\tpod\n", "hostname": "pod\n",
		"termination-log": "", "token/token": "not for a RUN step\n", "token/namespace": "default\n",
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	volume := filepath.Join(dir, "volume")
	if err := os.MkdirAll(volume, 0o755); err != nil {
		return err
	}
	if c.env.UserNamespace {
		// The kubelet mounts volumes with the pod's ids.
		if err := shift(dir); err != nil {
			return err
		}
	}
	return os.Chmod(volume, 0o777)
}

func writeFile(name, content string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(content), mode)
}
