package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"warmer": main})
}

// TestScript runs the command as users do, script by script, each with a
// registry of its own at $REGISTRY.
func TestScript(t *testing.T) { runScripts(t, "testdata/script") }

// TestSurfaceScript runs the scripts of what kaniko's warmer has, one for each row.
func TestSurfaceScript(t *testing.T) { runScripts(t, "testdata/surface") }

func runScripts(t *testing.T, dir string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s := registrytest.New(e.T().(testing.TB))
			e.Values[serverKey{}], e.Values[outerKey{}] = s, e.T()
			e.Setenv("REGISTRY", s.Host)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("DOCKER_CONFIG", e.WorkDir)
			e.Setenv("CACHE", filepath.Join(e.WorkDir, "cache"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "far" {
				return false, fmt.Errorf("unknown condition %s", cond)
			}
			return farAddress() != "", nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"push": push, "onbuild": onbuild, "sign": sign, "requests": requests, "forget": forget, "down": down, "spoil": spoil, "blobs": blobs, "heal": heal,
			"exits": exits, "registry": startRegistry, "auth": auth, "fault": fault, "jsonlines": jsonLines,
		},
	})
}

type serverKey struct{}

func server(ts *testscript.TestScript) *registrytest.Server {
	s, ok := ts.Value(serverKey{}).(*registrytest.Server)
	if !ok {
		ts.Fatalf("no registry")
	}
	return s
}

// tb lets kits for tests fail a script.
type tb struct {
	testing.TB
	ts *testscript.TestScript
}

func (t tb) Helper()           {}
func (t tb) Fatal(args ...any) { t.ts.Fatalf("%v", args) }

// push REPO:TAG PLATFORM… pushes an image of a platform, or an index of several.
// The digest is then in $DIGEST.
func push(ts *testscript.TestScript, _ bool, args []string) {
	t := tb{ts: ts}
	var images []v1.Image
	for _, p := range args[1:] {
		images = append(images, registrytest.Image(t, p))
	}
	var what remote.Taggable = images[0]
	if len(images) > 1 {
		what = registrytest.Index(t, images...)
	}
	ts.Setenv("DIGEST", server(ts).Push(t, args[0], what).String())
}

// onbuild REPO:TAG TRIGGER pushes an image with an ONBUILD instruction.
func onbuild(ts *testscript.TestScript, _ bool, args []string) {
	img := registrytest.Image(tb{ts: ts}, "linux/amd64")
	conf, err := img.ConfigFile()
	ts.Check(err)
	conf = conf.DeepCopy()
	conf.Config.OnBuild = []string{args[1]}
	img, err = mutate.ConfigFile(img, conf)
	ts.Check(err)
	server(ts).Push(tb{ts: ts}, args[0], img)
}

// sign REPO DIGEST pushes a signature in cosign's older manner, by its tag, and an
// attestation that refers to the image.
func sign(ts *testscript.TestScript, _ bool, args []string) {
	sig, err := random.Image(100, 1)
	ts.Check(err)
	s := server(ts)
	s.Push(tb{ts: ts}, args[0]+":"+strings.Replace(args[1], ":", "-", 1)+".sig", sig)
	subject, err := v1.NewHash(args[1])
	ts.Check(err)
	att, err := mutate.AppendLayers(mutate.MediaType(sig, types.OCIManifestSchema1), static.NewLayer([]byte("{}"), "application/vnd.in-toto+json"))
	ts.Check(err)
	desc, err := partial.Descriptor(s.Image(tb{ts: ts}, args[0]+"@"+args[1]))
	ts.Check(err)
	desc.Digest = subject
	s.Push(tb{ts: ts}, args[0]+":att", mutate.Subject(att, *desc).(v1.Image))
}

// requests N tells how many requests there were since the last forget.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	list := server(ts).Requests()
	if (len(list) == want) == neg {
		for _, r := range list {
			ts.Logf("%s %s", r.Method, r.Path)
		}
		ts.Fatalf("%d requests, want %s", len(list), args[0])
	}
}

func forget(ts *testscript.TestScript, _ bool, _ []string) { server(ts).Forget() }
func down(ts *testscript.TestScript, _ bool, _ []string)   { server(ts).Close() }
func heal(ts *testscript.TestScript, _ bool, _ []string)   { server(ts).Heal() }

// spoil truncate|flip DIR spoils every blob that is no JSON; spoil registry PATH
// makes requests fail.
func spoil(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "registry" {
		server(ts).Fail(registrytest.Fault{Path: args[1], Status: 404, Body: `{"errors":[{"code":"BLOB_UNKNOWN"}]}`})
		return
	}
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), "blobs", "sha256", "*"))
	ts.Check(err)
	for _, p := range found {
		b, err := os.ReadFile(p)
		ts.Check(err)
		if json.Valid(b) {
			continue
		}
		if args[0] == "truncate" {
			b = b[:len(b)/2]
		} else {
			b = bytes.Clone(b)
			b[len(b)/2] ^= 1
		}
		ts.Check(os.WriteFile(p, b, 0o600))
	}
}

// blobs N DIR counts the blobs in a directory.
func blobs(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), "blobs", "sha256", "*"))
	ts.Check(err)
	if strconv.Itoa(len(found)) != args[0] {
		ts.Fatalf("%d blobs, want %s", len(found), args[0])
	}
}
