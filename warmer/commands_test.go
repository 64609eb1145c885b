package main

import (
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// exits CODE PROGRAM [ARG…] runs a program that must end with this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want || neg {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

type outerKey struct{}

// registry NAME tls|mutual|far starts another registry with the image base:1,
// whose address is then in $NAME, and its certificate's file in $NAME_CA. One with
// mutual TLS wants a client certificate, $NAME_CERT and $NAME_KEY. One that is far
// does not listen on the loopback address.
func startRegistry(ts *testscript.TestScript, _ bool, args []string) {
	t, ok := ts.Value(outerKey{}).(testing.TB)
	if !ok {
		ts.Fatalf("no test")
	}
	var s *registrytest.Server
	switch args[1] {
	case "far":
		s = registrytest.NewAt(t, farAddress())
	case "mutual":
		var cert, key string
		s, cert, key = registrytest.NewMutual(t)
		ts.Setenv(args[0]+"_CERT", cert)
		ts.Setenv(args[0]+"_KEY", key)
	default:
		s = registrytest.NewTLS(t)
	}
	if args[1] != "far" {
		ts.Setenv(args[0]+"_CA", s.CA(t))
	}
	s.Push(t, "base:1", registrytest.Image(t, "linux/amd64"))
	ts.Setenv(args[0], s.Host)
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
func auth(ts *testscript.TestScript, _ bool, args []string) {
	server(ts).Require(registrytest.Auth{User: args[0], Password: args[1]})
}

// fault METHOD PATH STATUS TIMES has $REGISTRY answer so.
func fault(ts *testscript.TestScript, _ bool, args []string) {
	status, err1 := strconv.Atoi(args[2])
	times, err2 := strconv.Atoi(args[3])
	ts.Check(errors.Join(err1, err2))
	server(ts).Fail(registrytest.Fault{Method: args[0], Path: args[1], Status: status, Times: times})
}

// jsonlines FILE: each line is a JSON object with a level.
func jsonLines(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.SplitSeq(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), "\n") {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["level"] == nil {
			ts.Fatalf("not a JSON line with a level: %s (%v)", line, err)
		}
	}
}
