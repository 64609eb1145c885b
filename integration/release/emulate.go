package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// emulateEnv tells a program that calls Main to become another one, where the kernel runs programs of another platform.
const emulateEnv = "STRAKE_PIPELINE_EMULATE"

type emulated struct {
	Arch string
	Args []string // the program and its arguments; nothing only tries
}

// binfmt is where the kernel is told which program runs what.
const binfmt = "/proc/sys/fs/binfmt_misc"

// machines are how ELF files of other platforms begin, as the kernel wants it, and which program of QEMU's runs them.
func machines() map[string]struct{ qemu, magic string } {
	const (
		head = `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00`
		mask = `\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
	)
	return map[string]struct{ qemu, magic string }{
		"arm64": {"qemu-aarch64", head + `\xb7\x00:` + mask},
		"amd64": {"qemu-x86_64", head + `\x3e\x00:` + mask},
	}
}

// ErrNoEmulation says that programs of another platform do not run here.
var ErrNoEmulation = errors.New("no emulation")

// inOwnNamespace is how programs run where QEMU can be set up for a namespace.
const inOwnNamespace = "namespace"

// Emulation tells how programs of a platform run here: "" where they do by themselves or by what the machine has set
// up, else "namespace". The error wraps ErrNoEmulation.
func Emulation(arch string) (string, error) {
	if arch == runtime.GOARCH {
		return "", nil
	}
	m := machines()[arch]
	if b, err := os.ReadFile(filepath.Join(binfmt, m.qemu)); err == nil && strings.HasPrefix(string(b), "enabled") {
		return "", nil
	}
	if os.Getuid() != 0 {
		return "", fmt.Errorf("%w: %s has no %s, and only root can set it up", ErrNoEmulation, binfmt, m.qemu)
	}
	if _, err := exec.LookPath(m.qemu + "-static"); err != nil {
		return "", fmt.Errorf("%w: %w (Debian: qemu-user-static)", ErrNoEmulation, err)
	}
	cmd, err := inNamespace(context.Background(), emulated{Arch: arch})
	if err != nil {
		return "", err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: set up %s in a namespace: %w: %s", ErrNoEmulation, m.qemu, err, strings.TrimSpace(string(out)))
	}
	return inOwnNamespace, nil
}

// inNamespace makes a command that runs in user and mount namespaces of its own, where this kernel (6.7 and later) takes
// its own list of emulators.
func inNamespace(ctx context.Context, e emulated) (*exec.Cmd, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), emulateEnv+"="+string(text))
	all := []syscall.SysProcIDMap{{Size: 1<<32 - 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true, Pdeathsig: syscall.SIGKILL,
	}
	return cmd, nil
}

// become sets QEMU up, and is the program from then on.
func (e *emulated) become() error {
	m := machines()[e.Arch]
	qemu, err := exec.LookPath(m.qemu + "-static")
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("binfmt_misc", binfmt, "binfmt_misc", 0, ""); err != nil {
		return fmt.Errorf("mount binfmt_misc: %w", err)
	}
	// F opens the program now, so that it need not be in the image.
	if err := os.WriteFile(filepath.Join(binfmt, "register"), []byte(":"+m.qemu+":M::"+m.magic+":"+qemu+":F"), 0); err != nil {
		return fmt.Errorf("register %s: %w", qemu, err)
	}
	if len(e.Args) == 0 {
		return nil
	}
	if err := os.Unsetenv(emulateEnv); err != nil {
		return err
	}
	return fmt.Errorf("execute %s: %w", e.Args[0], unix.Exec(e.Args[0], e.Args, os.Environ()))
}
