// Command warmbench measures what a warmed directory is worth: how long a build takes to its first RUN on a base of
// 100,000 files, cold and warm, and what it takes to warm that base, beside skopeo and crane's own way.
//
//	warmbench [-files N] [-layers N] [-runs N] [-dir DIR]
//
// Needs root and a static busybox. Everything comes from a registry on the loopback address.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/integration/loopback"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "crane-pull" {
		exit(cranePull(os.Args[2], os.Args[3]))
	}
	files := flag.Int("files", 100_000, "files in the base image")
	layers := flag.Int("layers", 5, "layers that they are in")
	runs := flag.Int("runs", 3, "how often each is measured; the median is shown")
	dir := flag.String("dir", "", "work here (a temporary directory, if empty)")
	flag.Parse()
	exit(bench(context.Background(), *dir, *files, *layers, *runs))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "warmbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// cranePull is what `crane pull --format=oci` does.
func cranePull(ref, dir string) error {
	img, err := crane.Pull(ref, crane.Insecure)
	if err != nil {
		return err
	}
	return crane.SaveOCI(img, dir)
}

type world struct {
	dir, executor, warmer, self string
	ref                         string
	runs                        int
}

func bench(ctx context.Context, dir string, files, layers, runs int) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "warmbench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	w := &world{dir: dir, runs: runs, executor: filepath.Join(dir, "executor"), warmer: filepath.Join(dir, "warmer")}
	if w.self, err = os.Executable(); err != nil {
		return err
	}
	for _, b := range []string{"executor", "warmer"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, b), "github.com/strake-build/strake/"+b)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", b, err, out)
		}
	}
	store, err := loopback.OpenStore(filepath.Join(dir, "registry"))
	if err != nil {
		return err
	}
	srv, err := loopback.Listen(ctx, 0, &loopback.Handler{Store: store})
	if err != nil {
		return err
	}
	defer srv.Close()
	w.ref = srv.Addr + "/base:1"
	img, err := base(files, layers)
	if err != nil {
		return err
	}
	if err := crane.Push(img, w.ref, crane.Insecure); err != nil {
		return err
	}
	if err := w.context(); err != nil {
		return err
	}
	return errors.Join(w.warming(ctx), w.building(ctx))
}

// base is an image of busybox and many files of a kilobyte or so.
func base(files, layers int) (v1.Image, error) {
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("a static busybox is needed: %w", err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	random := rand.NewChaCha8([32]byte{1})
	for l := range layers {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		add := func(h tar.Header, body []byte) {
			h.Size, h.ModTime = int64(len(body)), time.Unix(1.7e9, 0)
			err = errors.Join(err, tw.WriteHeader(&h))
			_, werr := tw.Write(body)
			err = errors.Join(err, werr)
		}
		if l == 0 {
			add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
			add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, box)
			add(tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
			add(tar.Header{Name: "bin/cat", Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
		half := make([]byte, 512)
		for i := range files / layers {
			dir := fmt.Sprintf("data/%d/%d/", l, i/100)
			if i%100 == 0 {
				if i == 0 {
					add(tar.Header{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
					add(tar.Header{Name: fmt.Sprintf("data/%d/", l), Typeflag: tar.TypeDir, Mode: 0o755}, nil)
				}
				add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
			}
			_, _ = random.Read(half) // never fails
			add(tar.Header{Name: dir + strconv.Itoa(i), Typeflag: tar.TypeReg, Mode: 0o644, Uid: i % 3}, append([]byte(strings.Repeat("line of text\n", i%80)), half...))
		}
		if err = errors.Join(err, tw.Close()); err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	conf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	conf = conf.DeepCopy()
	conf.OS, conf.Architecture = "linux", runtime.GOARCH
	return mutate.ConfigFile(img, conf)
}

func (w *world) context() error {
	if err := os.MkdirAll(filepath.Join(w.dir, "context"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, "context", "Dockerfile"), []byte("FROM "+w.ref+"\nRUN cat /proc/uptime\n"), 0o644)
}

// warming measures how long it takes to have the base here.
func (w *world) warming(ctx context.Context) error {
	out := func(n string) string { return filepath.Join(w.dir, "out-"+n) }
	ways := []struct {
		name string
		args func(dir string) []string
		dir  string
	}{
		{"warmer --unpacked=false", func(d string) []string {
			return []string{w.warmer, "--cache-dir", d, "--image", w.ref, "--unpacked=false"}
		}, out("plain")},
		{"warmer", func(d string) []string { return []string{w.warmer, "--cache-dir", d, "--image", w.ref} }, out("unpacked")},
		{"skopeo copy to an OCI layout", func(d string) []string {
			return []string{"skopeo", "copy", "--src-tls-verify=false", "docker://" + w.ref, "oci:" + d + ":1"}
		}, out("skopeo")},
		{"skopeo sync", func(d string) []string {
			return []string{"skopeo", "sync", "--src-tls-verify=false", "--src", "docker", "--dest", "dir", w.ref, d}
		}, out("sync")},
		{"crane pull --format=oci", func(d string) []string { return []string{w.self, "crane-pull", w.ref, d} }, out("crane")},
	}
	for _, way := range ways {
		args := way.args(way.dir)
		if _, err := exec.LookPath(args[0]); err != nil {
			fmt.Printf("%-34s not here\n", way.name)
			continue
		}
		err := w.median(way.name, func() (sample, error) {
			if err := os.RemoveAll(way.dir); err != nil {
				return sample{}, err
			}
			return timed(ctx, args)
		})
		if err != nil {
			return err
		}
	}
	return w.median("warmer, nothing to do", func() (sample, error) {
		return timed(ctx, []string{w.warmer, "--cache-dir", out("unpacked"), "--image", w.ref})
	})
}

// building measures how long it takes to the first RUN.
func (w *world) building(ctx context.Context) error {
	for _, way := range []struct {
		name string
		args []string
	}{
		{"first RUN, cold", []string{"--cache-dir", filepath.Join(w.dir, "none")}},
		{"first RUN, warm", []string{"--offline", "--cache-dir", filepath.Join(w.dir, "out-plain")}},
		{"first RUN, warm and unpacked", []string{"--offline", "--cache-dir", filepath.Join(w.dir, "out-unpacked")}},
	} {
		args := append([]string{
			w.executor, "--context", filepath.Join(w.dir, "context"), "--no-push", "--log-format", "text",
			"--kaniko-dir", filepath.Join(w.dir, "own"),
		}, way.args...)
		err := w.median(way.name, func() (sample, error) { return firstRun(ctx, args) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) median(name string, measure func() (sample, error)) error {
	var all []sample
	for range w.runs {
		s, err := measure()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
	}
	by := func(get func(sample) float64) (low, mid, high float64) {
		var list []float64
		for _, s := range all {
			list = append(list, get(s))
		}
		slices.Sort(list)
		return list[0], list[len(list)/2], list[len(list)-1]
	}
	low, wall, high := by(func(s sample) float64 { return s.wall.Seconds() })
	_, cpu, _ := by(func(s sample) float64 { return s.cpu.Seconds() })
	_, peak, _ := by(func(s sample) float64 { return float64(s.peak >> 20) })
	fmt.Printf("%-38s %7.2f s  (%.2f to %.2f) %7.2f s cpu %5.0f MiB\n", name, wall, low, high, cpu, peak)
	return nil
}

// sample is what one run cost.
type sample struct {
	wall, cpu time.Duration
	peak      int64 // bytes of resident memory
}

// measure runs a program. Its peak is looked at while it runs: what the kernel says of it
// afterwards is, too, of the process that it was made from.
func measure(ctx context.Context, args []string) (s sample, out []byte, err error) {
	start := time.Now()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		return s, nil, err
	}
	done, looked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(looked)
		for {
			s.peak = max(s.peak, highWater(cmd.Process.Pid))
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	err = cmd.Wait()
	s.wall = time.Since(start)
	close(done)
	<-looked
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, b.Bytes())
	}
	return s, b.Bytes(), err
}

// highWater is the most memory that a process had resident, in bytes.
func highWater(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib) // 0 for one that has ended
	return kib << 10
}

func timed(ctx context.Context, args []string) (sample, error) {
	s, _, err := measure(ctx, args)
	return s, err
}

var uptime = regexp.MustCompile(`(?m)^#\d+ [\d.]+ (\d+\.\d+) \d+\.\d+$`)

// firstRun is how long a build takes until its first step reads the clock; what else it
// costs is of all of it.
func firstRun(ctx context.Context, args []string) (sample, error) {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return sample{}, err
	}
	start, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		return sample{}, err
	}
	s, out, err := measure(ctx, args)
	if err != nil {
		return s, err
	}
	m := uptime.FindSubmatch(out)
	if m == nil {
		return s, fmt.Errorf("the step did not say when it ran:\n%s", out)
	}
	at, err := strconv.ParseFloat(string(m[1]), 64)
	s.wall = time.Duration((at - start) * float64(time.Second))
	return s, err
}
