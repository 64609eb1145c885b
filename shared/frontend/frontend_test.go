package frontend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
)

// engineOf has files as an archive's text, or just a Dockerfile.
func engineOf(text string) *archiveEngine {
	if !strings.HasPrefix(text, "-- ") {
		text = "-- Dockerfile --\n" + text
	}
	return &archiveEngine{Archive: txtar.Parse([]byte(text))}
}

func build(t *testing.T, e frontend.Engine, req frontend.Request) *frontend.Result {
	t.Helper()
	req.BuildPlatform = host()
	res, err := frontend.Build(t.Context(), req, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestPlatformsShareVertices(t *testing.T) {
	e := engineOf(`
FROM --platform=$BUILDPLATFORM golang:1 as build
RUN same
FROM alpine:3
COPY --from=build /a /a
COPY . .
`)
	res := build(t, e, frontend.Request{Platforms: []ocispecs.Platform{
		{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "s390x"},
	}})
	if !res.MultiPlatform || len(res.Platforms) != 2 {
		t.Fatalf("multi-platform %v with %d platforms", res.MultiPlatform, len(res.Platforms))
	}
	if len(res.Warnings) != 1 { // not one per platform
		t.Errorf("warnings %v", res.Warnings)
	}
	var shared []string
	for _, v := range res.Platforms[0].Graph.Vertices {
		if slices.Contains(res.Platforms[1].Graph.Vertices, v) {
			shared = append(shared, v.Name)
		}
		for _, p := range v.Positions {
			if p.File != res.Dockerfile {
				t.Errorf("%s: position in another file than the Dockerfile", v.Name)
			}
		}
	}
	if len(shared) != 3 { // the base and the step of build, the context
		t.Errorf("shared vertices: %q", shared)
	}
	if slices.Sort(e.asked); len(e.asked) != 3 {
		t.Errorf("asked for images %q", e.asked)
	}
}

func TestResultIsStable(t *testing.T) {
	data, err := txtar.ParseFile("testdata/multi-platform.txtar")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]bool)
	for range 10 {
		res := build(t, &archiveEngine{Archive: data}, frontend.Request{Platforms: []ocispecs.Platform{
			{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "riscv64"},
		}})
		text := ""
		for _, p := range res.Platforms {
			text += p.Graph.Text() + string(p.Config)
			for _, v := range p.Graph.Vertices {
				text += v.ID
			}
		}
		texts[text] = true
	}
	if len(texts) != 1 {
		t.Errorf("%d different results", len(texts))
	}
}

func TestSingleArchitectureBaseSetsPlatform(t *testing.T) {
	e := engineOf("-- images/alpine:3.json --\n{\"architecture\": \"s390x\"}\n-- Dockerfile --\nFROM alpine:3\nRUN true\n")
	res := build(t, e, frontend.Request{})
	if p := res.Platforms[0].Platform; p.Architecture != "s390x" {
		t.Errorf("platform %v", p)
	}
}

func TestConfigs(t *testing.T) {
	e := engineOf("FROM alpine:3\nLABEL a=b\nHEALTHCHECK CMD true\n")
	at := time.Unix(1e9, 0)
	res := build(t, e, frontend.Request{Labels: map[string]string{"a": "cli"}, SourceDateEpoch: &at})
	p := res.Platforms[0]
	var config struct {
		Config struct {
			Labels      map[string]string
			Healthcheck struct{ Test []string }
		}
	}
	if err := json.Unmarshal(p.Config, &config); err != nil {
		t.Fatal(err)
	}
	if config.Config.Labels["a"] != "cli" || len(config.Config.Healthcheck.Test) != 2 {
		t.Errorf("config %s", p.Config)
	}
	if !bytes.Contains(p.BaseConfig, []byte("diff_ids")) || bytes.Contains(p.BaseConfig, []byte("Healthcheck")) {
		t.Errorf("base config %s", p.BaseConfig)
	}
	if !p.Epoch.Equal(at) || !res.Epoch.Equal(at) {
		t.Errorf("epoch %v %v", p.Epoch, res.Epoch)
	}
	if e.closed != len(e.opened) || e.closed == 0 {
		t.Errorf("%d closed of %q", e.closed, e.opened)
	}
}

func TestEngineErrorStaysInTheChain(t *testing.T) {
	_, err := frontend.Build(t.Context(), frontend.Request{}, engineOf("FROM alpine:3 AS a\nFROM missing:1\nCOPY --from=a / /\n"), nil)
	located, ok := errors.AsType[*frontend.Error](err)
	if !ok || !errors.Is(err, errNoImage) {
		t.Fatalf("%#v", err)
	}
	if len(located.Positions) != 1 || located.Positions[0].String() != "Dockerfile:2" {
		t.Errorf("positions %v", located.Positions)
	}
	res, err := frontend.Lint(t.Context(), frontend.Request{}, engineOf("FROM missing:1\n"))
	if err != nil || !errors.Is(res.Err, errNoImage) {
		t.Errorf("lint: %v, %v", res, err)
	}
}

func TestNoDockerfile(t *testing.T) {
	_, err := frontend.Build(t.Context(), frontend.Request{}, engineOf("-- x --\n"), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// brokenFS has files that cannot be read.
type brokenFS struct {
	fs.FS
	name string
	err  error
}

func (b brokenFS) Open(name string) (fs.File, error) {
	if name == b.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: b.err}
	}
	return b.FS.Open(name)
}

type brokenEngine struct {
	*archiveEngine
	name string
	err  error
}

func (e brokenEngine) Open(ctx context.Context, g *graph.Graph) (fs.FS, error) {
	fsys, err := e.archiveEngine.Open(ctx, g)
	return brokenFS{fsys, e.name, e.err}, err
}

func TestUnreadableIgnoreFile(t *testing.T) {
	for _, name := range []string{".dockerignore", "Dockerfile.dockerignore"} {
		e := brokenEngine{engineOf("FROM scratch\nCOPY . /\n"), name, fs.ErrPermission}
		_, err := frontend.Build(t.Context(), frontend.Request{}, e, nil)
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type panickingEngine struct{ *archiveEngine }

func (panickingEngine) ImageConfig(context.Context, frontend.ImageQuery) (*frontend.Image, error) {
	panic("no good")
}

func TestPanicsBecomeErrors(t *testing.T) {
	text := "from alpine:3 as Base\n"
	_, inEngine := frontend.Build(t.Context(), frontend.Request{}, panickingEngine{engineOf(text)}, nil)
	_, inConversion := frontend.Build(t.Context(), frontend.Request{}, engineOf(text), func(frontend.Warning) { panic("no good") })
	for where, err := range map[string]error{"engine": inEngine, "conversion": inConversion} {
		bug, ok := errors.AsType[*frontend.PanicError](err)
		if !ok || bug.Value != "no good" || len(bug.Stack) == 0 {
			t.Errorf("%s: %v", where, err)
		}
		if _, ok := errors.AsType[*frontend.Error](err); ok {
			t.Errorf("%s: blamed on the Dockerfile: %v", where, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := frontend.Build(ctx, frontend.Request{}, engineOf("FROM alpine:3\n"), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestOutlineAndTargets(t *testing.T) {
	text := "# the base of all\nFROM alpine:3 AS base\nARG V=1\nRUN --mount=type=secret,id=tok true\nFROM base\n"
	out, err := frontend.Outline(t.Context(), frontend.Request{Target: "base"}, engineOf(text))
	if err != nil || !json.Valid(out.JSON) || !strings.Contains(out.Text, "tok") {
		t.Errorf("outline %+v: %v", out, err)
	}
	out, err = frontend.Targets(t.Context(), frontend.Request{}, engineOf(text))
	if err != nil || !json.Valid(out.JSON) || !strings.Contains(out.Text, "base") {
		t.Errorf("targets %+v: %v", out, err)
	}
	if _, err = frontend.Targets(t.Context(), frontend.Request{}, engineOf("FROM\n")); err == nil {
		t.Error("targets of a broken Dockerfile")
	}
}

func TestLintReport(t *testing.T) {
	res, err := frontend.Lint(t.Context(), frontend.Request{}, engineOf("FROM alpine:3 as b\n"))
	if err != nil || len(res.Warnings) != 1 || res.Err != nil {
		t.Fatalf("%+v: %v", res, err)
	}
	if !json.Valid(res.JSON) || bytes.Contains(res.JSON, []byte("definition")) || !strings.Contains(res.Text, "FromAsCasing") {
		t.Errorf("%s\n%s", res.JSON, res.Text)
	}
}

func BenchmarkBuild(b *testing.B) {
	e := engineOf("FROM golang:1 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app\nFROM alpine:3\nCOPY --from=build /app /\nCMD [\"/app\"]\n")
	for b.Loop() {
		if _, err := frontend.Build(b.Context(), frontend.Request{}, e, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzBuild feeds Dockerfiles of strangers: errors are fine, bugs are not, and
// what comes out is a valid graph.
func FuzzBuild(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if strings.HasPrefix(file.Name, "Dockerfile") {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, dockerfile []byte) {
		e := &archiveEngine{Archive: &txtar.Archive{Files: []txtar.File{{Name: "Dockerfile", Data: dockerfile}}}}
		res, err := frontend.Build(t.Context(), frontend.Request{BuildPlatform: host()}, e, func(w frontend.Warning) { _ = w.String() })
		if bug, ok := errors.AsType[*frontend.PanicError](err); ok {
			t.Fatalf("%v\n%s", bug, bug.Stack)
		}
		if located, ok := errors.AsType[*frontend.Error](err); ok {
			located.Excerpt(2)
		}
		if err != nil {
			return
		}
		if err := res.Platforms[0].Graph.Validate(); err != nil {
			t.Fatal(err)
		}
		res.Platforms[0].Graph.Text()
	})
}
