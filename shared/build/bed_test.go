package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/sandbox/sandboxtest"
	"github.com/strake-build/strake/shared/snapshot"
)

// reaper is the one of this process.
var reaper = sync.OnceValues(sandbox.BecomeReaper)

// bed is a registry with busybox in it, and a directory to build in.
type bed struct {
	*registrytest.Server
	dir, context string
	base         v1.Image // "busybox", for amd64
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{Server: registrytest.New(t), dir: t.TempDir(), context: t.TempDir()}
	b.base = registrytest.WithPlatform(t, busybox(t), "linux/amd64")
	b.Push(t, "busybox:latest", b.base)
	must(t, os.WriteFile(filepath.Join(b.context, "file"), []byte("from the context"), 0o644))
	must(t, os.Chtimes(filepath.Join(b.context, "file"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	return b
}

// busybox is an image of one layer.
func busybox(t *testing.T) v1.Image {
	t.Helper()
	table, err := snapshot.Upper(t.Context(), sandboxtest.Busybox(t), snapshot.UpperOptions{})
	must(t, err)
	blob, err := layer.Pack(t.Context(), table.Seal(), t.TempDir(), layer.PackOptions{})
	must(t, err)
	l, err := tarball.LayerFromOpener(blob.Open)
	must(t, err)
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "busybox"}})
	must(t, err)
	return img
}

// request is a build of a Dockerfile, in which %s is the base.
func (b *bed) request(t *testing.T, dockerfile string) build.Request {
	t.Helper()
	name := filepath.Join(t.TempDir(), "Dockerfile")
	must(t, os.WriteFile(name, []byte(fmt.Sprintf(dockerfile, b.Ref("busybox"))), 0o644))
	return build.Request{Context: b.context, Dockerfile: name, Dir: b.dir}
}

// builder is one whose clock stands.
func (b *bed) builder(t *testing.T) *build.Builder {
	t.Helper()
	client, err := registry.New(registry.Options{Retries: -1})
	must(t, err)
	r, err := reaper()
	must(t, err)
	return &build.Builder{
		Registry: client, Progress: &progress{ended: make(map[string]time.Time)}, Reaper: r,
		Now: func() time.Time { return time.Unix(1.7e9, 0) },
	}
}

// run builds, and closes the result when the test ends.
func (b *bed) run(t *testing.T, req build.Request) *build.Result {
	t.Helper()
	res, err := b.builder(t).Run(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, res.Close()) })
	return res
}

// fails expects a build to fail within a few seconds and to leave nothing behind.
func (b *bed) fails(ctx context.Context, t *testing.T, req build.Request) error {
	t.Helper()
	start := time.Now()
	res, err := b.builder(t).Run(ctx, req)
	if err == nil {
		must(t, res.Close())
		t.Fatal("the build succeeded")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v to fail", took)
	}
	left, gerr := filepath.Glob(filepath.Join(b.dir, "build-*"))
	if must(t, gerr); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return err
}

// files reads a layer: regular files with their content, all else as "".
func files(t *testing.T, l v1.Layer) map[string]string {
	t.Helper()
	r, err := l.Uncompressed()
	must(t, err)
	defer r.Close()
	all := make(map[string]string)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		data, err := io.ReadAll(tr)
		must(t, err)
		all[h.Name] = string(data)
	}
}

// progress remembers what ended when, and what was printed.
type progress struct {
	mu    sync.Mutex
	out   bytes.Buffer
	ended map[string]time.Time
}

func (p *progress) Start(*graph.Vertex) op.Log { return p }
func (p *progress) Stdout() io.Writer          { return p }
func (p *progress) Stderr() io.Writer          { return p }
func (p *progress) Warn(string)                {}

func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(data)
}

func (p *progress) End(v *graph.Vertex, _ time.Duration, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended[v.Name] = time.Now()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
