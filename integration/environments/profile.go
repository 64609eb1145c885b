package environments

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/strake-build/strake/integration/testkit"
)

// defaultCapabilities are Docker's and containerd's.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// allCapabilities are a privileged container's. CAP_SYS_RESOURCE is left out: where the tests themselves run in a
// container it is the one that its root most often lacks, and nothing here is about it.
func allCapabilities() []string {
	return append(defaultCapabilities(),
		"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH",
		"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_NET_ADMIN",
		"CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
		"CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
	)
}

// maskedPaths and readonlyPaths are what Docker and containerd hide.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// Profiles makes the runtimes' default seccomp profiles. They come from the runtimes' own modules, by a program that is
// a module of its own.
type Profiles struct{ program string }

// BuildProfiles compiles the program into dir.
func BuildProfiles(ctx context.Context, dir string) (Profiles, error) {
	root, err := testkit.Root(ctx)
	if err != nil {
		return Profiles{}, err
	}
	p := Profiles{filepath.Join(dir, "profiles")}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", p.program, ".")
	cmd.Dir = filepath.Join(root, "integration", "tools", "profiles")
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return Profiles{}, fmt.Errorf("build the seccomp profiles: %w\n%s", err, b)
	}
	return p, nil
}

// profile makes one, which depends on the capabilities in the spec.
func (p Profiles) profile(ctx context.Context, name Profile, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	if name == Unconfined {
		return nil, nil
	}
	in, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.program, string(name))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("make seccomp profile %s: %w", name, err)
	}
	var profile specs.LinuxSeccomp
	return &profile, json.Unmarshal(out, &profile)
}

// devices is the cgroup's rule: any may be made, the harmless ones used.
func devices(all bool) []specs.LinuxDeviceCgroup {
	if all {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	rules := []specs.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"}}
	number := func(n int64) *int64 { return &n }
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: number(d[0]), Minor: number(d[1]), Access: "rwm"})
	}
	return append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: number(136), Access: "rwm"})
}
