package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// scriptCommand is a word of the scripts.
type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// stage is what a script has around it.
type stage struct {
	testing.TB
	registries map[string]*registrytest.Server // by the variable with the address
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// commands are the words that the scripts have besides testscript's own.
func commands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"exits":     exits,
		"base":      base,
		"registry":  startRegistry,
		"auth":      auth,
		"fault":     fault,
		"asked":     asked,
		"agent":     userAgents,
		"inspect":   inspect,
		"interrupt": interrupt,
		"running":   running,
		"jsonlines": jsonLines,
		"sshkey":    sshKey,
		"web":       webServer,

		"warm":        warmImages,
		"rewind":      rewind,
		"spoil":       spoilBlobs,
		"kanikocache": kanikoCache,
	}
}

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func host(ts *testscript.TestScript, name string) *registrytest.Server {
	s := stageOf(ts).registries[name]
	if s == nil {
		ts.Fatalf("no registry %s", name)
	}
	return s
}

// exits CODE PROGRAM [ARG…] runs a program that must end with this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "exits CODE PROGRAM [ARG…]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// base REF busybox|PLATFORM… puts a base image into the registry, an index
// where there are several platforms; REF may be oci:DIR:TAG.
func base(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "base REF busybox|PLATFORM…")
	var images []v1.Image
	for _, p := range args[1:] {
		make := tiny
		if p == "busybox" {
			make = busybox
		}
		img, err := make(p)
		ts.Check(err)
		images = append(images, img)
	}
	if spec, ok := strings.CutPrefix(args[0], "oci:"); ok {
		dir, tag, _ := strings.Cut(spec, ":")
		l, err := layout.Write(ts.MkAbs(dir), registrytest.Index(stageOf(ts)))
		ts.Check(err)
		ts.Check(l.AppendImage(images[0], layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})))
		return
	}
	if len(images) > 1 {
		host(ts, "REGISTRY").Push(stageOf(ts), args[0], registrytest.Index(stageOf(ts), images...))
		return
	}
	host(ts, "REGISTRY").Push(stageOf(ts), args[0], images[0])
}

// registry NAME [tls|mutual|far] starts another registry, whose address is then in
// $NAME, and its certificate's file in $NAME_CA. One with mutual TLS wants a
// client certificate, $NAME_CERT and $NAME_KEY. One that is far does not listen on
// the loopback address.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "registry NAME [tls|mutual|far]")
	var s *registrytest.Server
	switch {
	case len(args) == 1:
		s = registrytest.New(stageOf(ts))
	case args[1] == "tls":
		s = registrytest.NewTLS(stageOf(ts))
		ts.Setenv(args[0]+"_CA", s.CA(stageOf(ts)))
	case args[1] == "mutual":
		var cert, key string
		s, cert, key = registrytest.NewMutual(stageOf(ts))
		ts.Setenv(args[0]+"_CA", s.CA(stageOf(ts)))
		ts.Setenv(args[0]+"_CERT", cert)
		ts.Setenv(args[0]+"_KEY", key)
	case args[1] == "far":
		s = registrytest.NewAt(stageOf(ts), farAddress())
	}
	ts.Setenv(args[0], s.Host)
	stageOf(ts).registries[args[0]] = s
}

// farAddress is an address of this machine that is not for itself alone, or empty.
func farAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}

// auth USER PASSWORD makes $REGISTRY ask for them.
func auth(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "auth USER PASSWORD")
	host(ts, "REGISTRY").Require(registrytest.Auth{User: args[0], Password: args[1]})
}

// fault METHOD PATH STATUS TIMES [BODY] has $REGISTRY answer so; reset for STATUS breaks off the body.
func fault(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && (len(args) == 4 || len(args) == 5), "fault METHOD PATH STATUS|reset TIMES [BODY]")
	times, err := strconv.Atoi(args[3])
	ts.Check(err)
	f := registrytest.Fault{Method: args[0], Path: args[1], Times: times}
	if args[2] == "reset" {
		f.Reset, f.ResetAt = true, 10 // in the body
	} else {
		f.Status, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	if len(args) == 5 {
		f.Body = args[4]
	}
	host(ts, "REGISTRY").Fail(f)
}

// agent NAME PATTERN: every program that asked the registry called itself so.
func userAgents(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "agent NAME PATTERN")
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	all := host(ts, args[0]).Requests()
	need(ts, len(all) > 0, "agent, when something was asked")
	for _, r := range all {
		if got := r.Header.Get("User-Agent"); !pattern.MatchString(got) {
			ts.Fatalf("%s %s by %q", r.Method, r.Path, got)
		}
	}
}

// asked NAME METHOD PATH: the registry was asked this.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3, "[!] asked NAME METHOD PATH")
	if n := host(ts, args[0]).Count(args[1], args[2]); (n > 0) == neg {
		ts.Fatalf("%s was asked %d times for %s %s", args[0], n, args[1], args[2])
	}
}

// interrupt SIGNAL PATTERN PROGRAM [ARG…] runs a program, sends it a signal
// once a line on its stderr matches, and says the exit code on stdout.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 2, "interrupt SIGNAL PATTERN PROGRAM [ARG…]")
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	program, err := exec.LookPath(args[2])
	ts.Check(err)
	cmd := exec.Command(program, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "DOCKER_CONFIG", "KANIKO_DIR", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	pipe, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	patience := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer patience.Stop()
	sent := false
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		_, _ = ts.Stderr().Write(append(lines.Bytes(), '\n'))
		if !sent && pattern.Match(lines.Bytes()) {
			sent = true
			ts.Check(cmd.Process.Signal(signals[args[0]]))
		}
	}
	_ = cmd.Wait()
	if !sent {
		ts.Fatalf("no line matched %s", pattern)
	}
	_, _ = ts.Stdout().Write([]byte("exit " + strconv.Itoa(cmd.ProcessState.ExitCode()) + "\n"))
}

// running WORD: some process of this machine has WORD among its arguments.
func running(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, "[!] running WORD")
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	found := ""
	for _, f := range files {
		line, _ := os.ReadFile(f) // it may have ended
		if bytes.Contains(append([]byte{0}, line...), []byte("\x00"+args[0]+"\x00")) {
			found = f
		}
	}
	if (found != "") == neg {
		ts.Fatalf("processes with %s: %q", args[0], found)
	}
}

// jsonlines FILE: each line is a JSON object with a level.
func jsonLines(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "jsonlines FILE")
	text := strings.TrimSuffix(ts.ReadFile(args[0]), "\n")
	for line := range strings.SplitSeq(text, "\n") {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["level"] == nil {
			ts.Fatalf("not a JSON line with a level: %s (%v)", line, err)
		}
	}
}

// sshkey FILE makes a private key.
func sshKey(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "sshkey FILE")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), privateKey(stageOf(ts)), 0o600))
}

// privateKey is an Ed25519 key as ssh-keygen writes them.
func privateKey(t testing.TB) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}
