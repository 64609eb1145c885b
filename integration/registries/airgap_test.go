package registries

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// insideEnv tells the test binary that it is in the namespace; its value is the executor.
const insideEnv = "STRAKE_TEST_AIR_GAP"

// TestAirGap runs TestInsideAirGap in a network namespace that has the loopback interface only. There, the kernel counts
// every attempt to reach another machine, by name or by address.
func TestAirGap(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInsideAirGap$", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"="+executor, "HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=", "ALL_PROXY=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInsideAirGap/control") {
		t.Error(err)
	}
}

// attempts counts what the kernel of this namespace was asked to send elsewhere: packets without a route, and datagrams
// of any kind (questions for names).
func attempts(t testing.TB) int {
	t.Helper()
	n := 0
	var names []string
	b, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 1 && (f[1][0] < '0' || f[1][0] > '9') {
			names = f
			continue
		}
		for i, v := range f {
			if names[0] == "Ip:" && names[i] == "OutNoRoutes" || names[0] == "Udp:" && names[i] == "OutDatagrams" {
				c, _ := strconv.Atoi(v)
				n += c
			}
		}
	}
	b, _ = os.ReadFile("/proc/net/snmp6") // not there without IPv6
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && (f[0] == "Ip6OutNoRoutes" || f[0] == "Udp6OutDatagrams") {
			c, _ := strconv.Atoi(f[1])
			n += c
		}
	}
	return n
}

func TestInsideAirGap(t *testing.T) {
	executor := os.Getenv(insideEnv)
	if executor == "" {
		t.Skip("TestAirGap runs it")
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mirror, sick, dead := registrytest.New(t), registrytest.New(t), registrytest.New(t)
	mirror.Push(t, "hub/library/base:1", registrytest.Image(t, "linux/amd64"))
	mirror.Push(t, "quay/org/base:1", registrytest.Image(t, "linux/amd64"))
	sick.Fail(registrytest.Fault{Status: http.StatusServiceUnavailable})
	dead.Close()
	closed := registry.Options{
		Retries: -1, SkipDefaultFallback: true, Mirrors: []string{dead.Host, mirror.Host + "/hub"},
		Maps: []string{"quay.io=" + sick.Host + ";quay.io=" + mirror.Host + "/quay", "ghcr.io=" + sick.Host, "r.io/team=" + mirror.Host + "/team"},
	}
	for ref, want := range map[string]error{
		"base:1": nil, "docker.io/library/base:1": nil, "quay.io/org/base:1": nil,
		"base:none": registry.ErrUnavailable, "quay.io/org/none:1": registry.ErrUnavailable, "ghcr.io/x/y:1": registry.ErrUnavailable,
		"r.io/team/x:1": registry.ErrNotFound,
	} {
		t.Run("client, "+ref, func(t *testing.T) {
			before := attempts(t)
			_, err := newClient(t, closed).Image(t.Context(), ref, nil)
			if want == nil && err != nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if n := attempts(t) - before; n > 0 {
				t.Errorf("%d attempts to reach others", n)
			}
		})
	}
	t.Run("executor", func(t *testing.T) {
		for base, ok := range map[string]bool{"base:1": true, "none:1": false} {
			before := attempts(t)
			out, err := build(t, executor, base, "--skip-default-registry-fallback", "--registry-mirror", mirror.Host+"/hub")
			if ok != (err == nil) || !ok && !strings.Contains(out, mirror.Host) {
				t.Errorf("%s: %v: %s", base, err, out)
			}
			if n := attempts(t) - before; n > 0 {
				t.Errorf("%s: %d attempts to reach others: %s", base, n, out)
			}
		}
	})
	// The count does see what it should: with a fallback, others are asked.
	t.Run("control", func(t *testing.T) {
		open := closed
		open.SkipDefaultFallback = false
		before := attempts(t)
		_, err := newClient(t, open).Image(t.Context(), "base:none", nil)
		if err == nil || attempts(t) == before {
			t.Errorf("%v, and no attempt was counted", err)
		}
		before = attempts(t)
		if out, err := build(t, executor, "none:1", "--registry-mirror", mirror.Host+"/hub"); err == nil || attempts(t) == before {
			t.Errorf("%v, and no attempt was counted: %s", err, out)
		}
	})
}

// build builds an image of a base and one file.
func build(t *testing.T, executor, base string, flags ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), []byte("FROM "+base+"\nCOPY Dockerfile /\n"))
	cmd := exec.CommandContext(t.Context(), executor, append([]string{"-c", dir, "--no-push", "--custom-platform", "linux/amd64"}, flags...)...)
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
