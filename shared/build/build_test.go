package build_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

func layersOf(t *testing.T, img v1.Image) []v1.Layer {
	t.Helper()
	layers, err := img.Layers()
	must(t, err)
	conf, err := img.ConfigFile()
	must(t, err)
	rows := 0
	for _, h := range conf.History {
		if !h.EmptyLayer {
			rows++
		}
	}
	if rows != len(layers) || len(conf.RootFS.DiffIDs) != len(layers) {
		t.Errorf("%d layers, %d diff IDs, history of %d", len(layers), len(conf.RootFS.DiffIDs), rows)
	}
	return layers
}

func digest(t *testing.T, a interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := a.Digest()
	must(t, err)
	return d.String()
}

func TestMultiPlatform(t *testing.T) {
	b := newBed(t)
	amd, arm := b.base, registrytest.Image(t, "linux/arm64")
	b.Push(t, "busybox:latest", registrytest.Index(t, amd, arm))
	req := b.request(t, "FROM %s\nARG TARGETARCH\nCOPY file /$TARGETARCH\n")
	req.Frontend.Platforms = []ocispecs.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}}
	res := b.run(t, req)
	index, ok := res.Artifact.(v1.ImageIndex)
	if !ok || len(res.Images) != 2 {
		t.Fatalf("the artifact is %T, of %d images", res.Artifact, len(res.Images))
	}
	m, err := index.IndexManifest()
	must(t, err)
	for i, arch := range []string{"arm64", "amd64"} {
		d := m.Manifests[i]
		img, err := index.Image(d.Digest)
		must(t, err)
		layers := layersOf(t, img)
		got := files(t, layers[len(layers)-1])
		if d.Platform.Architecture != arch || got[arch] != "from the context" || len(layers) != map[string]int{"arm64": 3, "amd64": 2}[arch] {
			t.Errorf("manifest %d is for %v, has %d layers, the last with %v", i, d.Platform, len(layers), got)
		}
	}
}

func TestNoDockerfile(t *testing.T) {
	b := newBed(t)
	req := b.request(t, "FROM %s\n")
	req.Dockerfile = filepath.Join(b.context, "none")
	if err := b.fails(t.Context(), t, req); !errors.Is(err, build.ErrNoContext) {
		t.Errorf("got %v", err)
	}
}

func TestSingleSnapshot(t *testing.T) {
	b := newBed(t)
	req := b.request(t, "FROM %s\nRUN echo 1 >/gone; echo 2 >/stays; rm /etc/group\nENV A=1\nCOPY file /file\nRUN rm /gone; echo 3 >>/stays\n")
	plain := layersOf(t, b.run(t, req).Images[0])
	req.SingleSnapshot = true
	img := b.run(t, req).Images[0]
	squashed := layersOf(t, img)
	if len(plain) != 4 || len(squashed) != 2 {
		t.Fatalf("%d layers, and %d squashed", len(plain), len(squashed))
	}
	got := files(t, squashed[1])
	_, gone := got["gone"]
	if _, removed := got["etc/.wh.group"]; !removed || gone || got["stays"] != "2\n3\n" || got["file"] != "from the context" {
		t.Errorf("the layer has %v", got)
	}
	if digest(t, squashed[0]) != digest(t, plain[0]) {
		t.Error("the base was packed again")
	}
	conf, err := img.ConfigFile()
	must(t, err)
	if n := len(conf.History); n != 5 || conf.History[n-1].EmptyLayer || !conf.History[1].EmptyLayer {
		t.Errorf("history: %+v", conf.History)
	}
}

// TestReproducible builds at different times and with different isolation. (A write
// to one name of a hard-linked file of an earlier layer would differ: overlayfs
// parts the names.)
func TestReproducible(t *testing.T) {
	b := newBed(t)
	req := b.request(t, `FROM %s AS made
WORKDIR /work/dir
RUN mkdir d; echo 1 >d/f; ln d/f d/g; ln -s f d/l; chown 7:8 d/l d; chmod 4755 d/f; rm /etc/group; mkdir -p /new/deep
COPY file .
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t rm -r /mnt; echo 2 >>file; touch /cache/x /t/x
FROM made
COPY --from=made /work /copied
`)
	req.Reproducible = true
	seen := make(map[string][]string)
	for i, isolation := range []string{"overlay", "chroot", "overlay"} {
		req.Isolation.View = isolation
		builder := b.builder(t)
		builder.Now = func() time.Time { return time.Unix(1.7e9+int64(i)*1e6, 0) }
		res, err := builder.Run(t.Context(), req)
		must(t, err)
		var ids []string
		for _, l := range layersOf(t, res.Images[0]) {
			ids = append(ids, digest(t, l))
		}
		d := digest(t, res.Artifact)
		seen[d] = append(seen[d], isolation)
		if len(seen) > 1 {
			t.Errorf("%s has another digest, with the layers %v", isolation, ids)
		}
		must(t, res.Close())
	}
	if len(seen) > 1 {
		t.Errorf("digests: %v", seen)
	}
}

// TestLayersEarly hands layers on while later steps run.
func TestLayersEarly(t *testing.T) {
	b := newBed(t)
	req := b.request(t, "FROM %s\nRUN echo 1 >/a\nRUN sleep 2\nRUN echo 3 >/c\n")
	builder := b.builder(t)
	var mu sync.Mutex
	var delivered []time.Time
	builder.Layer = func(_ context.Context, l *layer.Blob) error {
		mu.Lock()
		defer mu.Unlock()
		delivered = append(delivered, time.Now())
		return nil
	}
	res, err := builder.Run(t.Context(), req)
	must(t, err)
	defer res.Close()
	var slept time.Time
	for name, at := range builder.Progress.(*progress).ended {
		if strings.Contains(name, "sleep") {
			slept = at
		}
	}
	early := 0
	for _, at := range delivered {
		if at.Before(slept.Add(-time.Second)) {
			early++
		}
	}
	if len(delivered) != 4 || early != 2 { // the base's and the first step's
		t.Errorf("%d layers were delivered, %d of them while a later step ran", len(delivered), early)
	}
}

// TestDeliveryFails ends the build when a layer cannot be handed on.
func TestDeliveryFails(t *testing.T) {
	b := newBed(t)
	builder := b.builder(t)
	full := errors.New("the registry is full")
	builder.Layer = func(context.Context, *layer.Blob) error { return full }
	start := time.Now()
	if _, err := builder.Run(t.Context(), b.request(t, "FROM %s\nRUN echo 1 >/a\nRUN sleep 60\n")); !errors.Is(err, full) || time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

// TestFailingStep ends the others with it.
func TestFailingStep(t *testing.T) {
	for _, isolation := range []string{"overlay", "chroot"} {
		t.Run(isolation, func(t *testing.T) {
			b := newBed(t)
			req := b.request(t, "FROM %[1]s AS slow\nRUN sleep 60\nFROM %[1]s AS bad\nRUN sleep 0.5; exit 3\nFROM %[1]s\nCOPY --from=slow / /slow\nCOPY --from=bad / /bad\n")
			req.Isolation.View = isolation
			err := b.fails(t.Context(), t, req)
			exit, ok := errors.AsType[*run.ExitError](err)
			if !ok || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "Dockerfile:4") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestCancel is what SIGTERM does: at a step, and at a download that hangs.
func TestCancel(t *testing.T) {
	b := newBed(t)
	terminated := errors.New("terminated")
	cancel := func(req build.Request) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(terminated) })
		if err := b.fails(ctx, t, req); !errors.Is(err, terminated) {
			t.Errorf("got %v", err)
		}
	}
	cancel(b.request(t, "FROM %s\nRUN sleep 60\n"))
	b.slowBase(t)
	cancel(b.request(t, "FROM %s\nRUN true\n"))
	// A failing step does not wait for it either.
	b.Push(t, "other:latest", b.base)
	req := b.request(t, "FROM %[1]s AS slow\nRUN true\nFROM scratch AS bad\nCOPY none /\nFROM scratch\nCOPY --from=slow / /a\nCOPY --from=bad / /b\n")
	if err := b.fails(t.Context(), t, req); !strings.Contains(err.Error(), "none") {
		t.Errorf("got %v", err)
	}
}

// slowBase makes the registry give half of the base's layer, and then no more.
func (b *bed) slowBase(t *testing.T) {
	t.Helper()
	layers, err := b.base.Layers()
	must(t, err)
	d, err := layers[0].Digest()
	must(t, err)
	b.Fail(registrytest.Fault{Path: d.Hex, Stall: true, ResetAt: 4096})
}

// TestLazyBase downloads nothing that nobody looks into.
func TestLazyBase(t *testing.T) {
	b := newBed(t)
	for dockerfile, want := range map[string]int{
		"FROM %s\nENV A=1\nENTRYPOINT [\"sh\"]\n":                            0,
		"FROM %[1]s AS unused\nRUN sleep 60\nFROM %[1]s\nLABEL a=b\n":        0,
		"FROM %[1]s AS one\nFROM %[1]s\nCOPY --from=one /etc /1\nRUN true\n": 1,
	} {
		b.Forget()
		img := b.run(t, b.request(t, dockerfile)).Images[0]
		layers := layersOf(t, img)
		if got := b.Count("GET", digest(t, layers[0])); got != want {
			t.Errorf("%s: the base was downloaded %d times, want %d", dockerfile, got, want)
		}
	}
}

// TestNestedMounts goes the whole way from a Dockerfile.
func TestNestedMounts(t *testing.T) {
	for _, isolation := range []string{"overlay", "chroot"} {
		t.Run(isolation, func(t *testing.T) {
			b := newBed(t)
			req := b.request(t, `FROM %s
WORKDIR /src/sub
RUN --mount=type=cache,target=/foo/bar/baz --mount=type=cache,target=/foo/bar --mount=type=tmpfs,target=/t --mount=type=bind,target=/t/x \
	--mount=type=bind,rw,target=/src --mount=type=cache,target=/src/modules --mount=type=secret,id=s,target=/foo/bar/secret \
	cat /foo/bar/secret >/got; ls /foo/bar /t/x /src >>/got; touch /foo/bar/baz/f /t/f /src/f /src/modules/f
`)
			req.Isolation.View, req.Secrets = isolation, secrets{"s": "secret\n"}
			layers := layersOf(t, b.run(t, req).Images[0])
			got := files(t, layers[len(layers)-1])
			want := "secret\n/foo/bar:\nbaz\nsecret\n\n/src:\nfile\nmodules\nsub\n\n/t/x:\nfile\n"
			if got["got"] != want || len(got) != 1 {
				t.Errorf("the layer has %q", got)
			}
		})
	}
}

type secrets map[string]string

func (s secrets) Secret(id string) ([]byte, bool, error) {
	v, ok := s[id]
	return []byte(v), ok, nil
}

func TestEmptyDirectory(t *testing.T) {
	b := newBed(t)
	res, err := b.builder(t).Run(t.Context(), b.request(t, "FROM %s\nRUN --mount=type=cache,target=/c echo 1 >/c/f\n"))
	must(t, err)
	must(t, res.Close())
	entries, err := os.ReadDir(b.dir)
	must(t, err)
	for _, e := range entries {
		if e.Name() != "mounts" {
			t.Errorf("%s is left", e.Name())
		}
	}
}
