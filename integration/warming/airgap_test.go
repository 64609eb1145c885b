package warming

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/strake-build/strake/integration/bases"
	"github.com/strake-build/strake/integration/loopback"
	"github.com/strake-build/strake/integration/testkit"
)

// insideEnv marks the part of a test that runs in a network namespace of its own;
// its value is the paths of the warmer and the executor.
const insideEnv = "WARMING_TEST_INSIDE"

// TestAirGap carries images over an air gap: warm, export, import elsewhere, build offline, push. It does so where
// every packet that leaves the loopback device is counted, and none may be.
func TestAirGap(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInsideAirGap$", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"="+warmer+":"+kit.Executor, "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInsideAirGap") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestInsideAirGap(t *testing.T) {
	warmer, executor, ok := strings.Cut(os.Getenv(insideEnv), ":")
	if !ok {
		t.Skip("runs in the network namespace of TestAirGap")
	}
	for _, args := range []string{
		"link set lo up", "link add out0 type veth peer name out1", "link set out0 addrgenmode none", "link set out1 addrgenmode none",
		"addr add 192.0.2.1/24 dev out0", "link set out1 up",
		"link set out0 up", "route add default dev out0",
	} {
		must(t, "ip", strings.Fields(args)...)
	}
	dir := t.TempDir()
	cache, far, tarball := filepath.Join(dir, "cache"), filepath.Join(dir, "far"), filepath.Join(dir, "bundle.tar")

	// The connected side.
	origin := serve(t, filepath.Join(dir, "origin"), 0)
	ref := origin.Addr + "/library/busybox:latest"
	must(t, warmer, "--cache-dir", cache, "--image", ref, "--image", origin.Addr+"/library/debian:never", "--ignore-errors")
	must(t, warmer, "export", "--cache-dir", cache, "--output", tarball)
	if err := origin.Close(); err != nil {
		t.Fatal(err)
	}
	asked := count(t, origin.Addr)

	// The other side. A registry of its own takes what is built.
	must(t, warmer, "import", "--cache-dir", far, tarball)
	must(t, warmer, "verify", "--cache-dir", far)
	home := serve(t, filepath.Join(dir, "home"), 0)
	defer home.Close()
	context := filepath.Join(dir, "context")
	if err := os.Mkdir(context, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(content string) {
		if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# syntax=docker/dockerfile:1\nFROM " + ref + "\nRUN echo built > /there\nCOPY --from=" + ref + " /etc /copied\n")
	build := []string{"--context", context, "--cache-dir", far, "--offline", "--kaniko-dir", filepath.Join(dir, "own"), "--destination", home.Addr + "/app:1"}
	must(t, executor, build...)
	pulled := must(t, warmer, "--cache-dir", filepath.Join(dir, "check"), "--image", home.Addr+"/app:1", "--unpacked=false")
	if !strings.Contains(pulled, "/app:1 sha256:") {
		t.Errorf("what was pushed is not there:\n%s", pulled)
	}

	write("FROM docker.io/library/alpine:3\nCOPY --from=ghcr.io/other/tools:1 / /\n")
	out, code := command(t, executor, build...)
	if code != 66 || !strings.Contains(out, "2 images are not in") || !strings.Contains(out, "ghcr.io/other/tools:1") {
		t.Errorf("missing images: %d\n%s", code, out)
	}

	if n := asked.Load(); n > 0 {
		t.Errorf("the origin was contacted %d times", n)
	}
	sent, err := os.ReadFile("/sys/class/net/out0/statistics/tx_packets")
	if err != nil {
		// sysfs shows the namespace of whoever mounted it.
		sent = []byte(packets(t))
	}
	if n := strings.TrimSpace(string(sent)); n != "0" {
		t.Errorf("%s packets left for somewhere else", n)
	}
	// The count can fail: a packet that does leave is seen.
	if c, err := net.Dial("udp", "198.51.100.1:53"); err == nil {
		_, _ = c.Write([]byte("x"))
		_ = c.Close()
	}
	if n := packets(t); n == "0" {
		t.Error("packets that leave are not counted")
	}
}

// packets are those that left by the device which leads out of here.
func packets(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if name, rest, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "out0" {
			return strings.Fields(rest)[9]
		}
	}
	t.Fatal("no device out0")
	return ""
}

func serve(t *testing.T, dir string, port int) *loopback.Server {
	t.Helper()
	store, err := loopback.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	basesDir, err := bases.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	if d := os.Getenv(testkit.BasesEnv); d != "" {
		basesDir = d
	}
	based, err := loopback.OpenStore(filepath.Join(basesDir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := loopback.Listen(t.Context(), port, &loopback.Handler{Store: store, Bases: based})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// count counts the connections to an address where a registry was.
func count(t *testing.T, addr string) *atomic.Int64 {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var n atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			c.Close()
		}
	}()
	return &n
}
