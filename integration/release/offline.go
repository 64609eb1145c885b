package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv tells a program that calls Main that it is in the namespace; its value says what to do there.
const insideEnv = "STRAKE_PIPELINE"

type inside struct {
	Pipeline
	Ref string
}

// Main is the first thing that a program must call that runs pipelines: it is started once more, in a network namespace
// that has the loopback interface only, and in others where programs of another platform run.
func Main() {
	var err error
	if text := os.Getenv(emulateEnv); text != "" {
		var e emulated
		if err = json.Unmarshal([]byte(text), &e); err == nil {
			err = e.become()
		}
	} else if text := os.Getenv(insideEnv); text != "" {
		var in inside
		if err = json.Unmarshal([]byte(text), &in); err == nil {
			err = in.carryOut(context.Background())
		}
	} else {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// ErrNoNamespace says that this machine gives its user no network namespace.
var ErrNoNamespace = errors.New("no network namespace")

// offline verifies the index, and builds from it, where nothing but the registry can be reached.
func (p *Pipeline) offline(ctx context.Context, ref string) error {
	text, err := json.Marshal(inside{*p, ref})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), insideEnv+"="+string(text), "HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=", "ALL_PROXY=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = os.Stdout, &errs
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrNoNamespace, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("where nothing but the registry is: %w\n%s", err, errs.String())
	}
	return nil
}

func (in *inside) carryOut(ctx context.Context) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("set the loopback interface up: %w", err)
	}
	srv, err := in.serve(ctx)
	if err != nil {
		return err
	}
	before, err := attempts()
	if err != nil {
		return err
	}
	err = in.After(ctx, in.Ref)
	now, err2 := attempts()
	if now > before {
		err = errors.Join(err, fmt.Errorf("%w: %d times", errAttempts, now-before))
	}
	return errors.Join(err, err2, srv.Close())
}

// loopbackUp does what `ip link set lo up` does.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// attempts counts what the kernel of this namespace was asked to send elsewhere: packets without a route, and
// datagrams of any kind (questions for names).
func attempts() (n int, err error) {
	b, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 1 && (f[1][0] < '0' || f[1][0] > '9') {
			names = f
			continue
		}
		for i, v := range f {
			if i < len(names) && (names[0] == "Ip:" && names[i] == "OutNoRoutes" || names[0] == "Udp:" && names[i] == "OutDatagrams") {
				c, _ := strconv.Atoi(v)
				n += c
			}
		}
	}
	return n, nil
}
