package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/strake-build/strake/integration/buildkit"
	"github.com/strake-build/strake/integration/testkit"
)

// builder is one of the programs that are compared.
type builder interface {
	name() string
	// reset forgets everything, so that the next build is cold.
	reset(ctx context.Context) error
	// build builds and pushes, and measures that. Args are build arguments in the form of flags.
	build(ctx context.Context, dir, ref string, args []string) (sample, error)
	// cached is build with a repository as the cache; keep writes to it, too.
	cached(ctx context.Context, dir, ref, cache string, keep bool) (sample, error)
	close() error
}

type strake struct {
	executor, state, registry string
}

func newStrake(ctx context.Context, executor, state, registry string) (*strake, error) {
	if executor == "" {
		executor = state + "-executor"
		if err := testkit.BuildExecutor(ctx, executor); err != nil {
			return nil, err
		}
	}
	return &strake{executor, state, registry}, nil
}

func (s *strake) name() string { return "strake" }

func (s *strake) reset(context.Context) error { return os.RemoveAll(s.state) }

func (s *strake) close() error { return nil }

func (s *strake) build(ctx context.Context, dir, ref string, args []string) (sample, error) {
	flags := append([]string{
		"--context", dir, "--dockerfile", filepath.Join(dir, "Dockerfile"), "--kaniko-dir", s.state,
		"--registry-map", "index.docker.io=" + s.registry, "--destination", ref, "--insecure",
	}, args...)
	return measure(exec.CommandContext(ctx, s.executor, flags...), 0)
}

func (s *strake) cached(ctx context.Context, dir, ref, cache string, keep bool) (sample, error) {
	args := []string{"--cache", "--cache-repo", cache}
	if !keep {
		args = append(args, "--no-push-cache")
	}
	return s.build(ctx, dir, ref, args)
}

type buildKit struct{ daemon *buildkit.Daemon }

func newBuildKit(ctx context.Context, state, registry string) (*buildKit, error) {
	root, err := testkit.Root(ctx)
	if err != nil {
		return nil, err
	}
	bin, err := buildkit.Install(ctx, root)
	if err != nil {
		return nil, err
	}
	d, err := buildkit.Start(ctx, bin, state, registry)
	return &buildKit{d}, err
}

func (b *buildKit) name() string { return "buildkit" }

func (b *buildKit) reset(ctx context.Context) error { return b.daemon.Prune(ctx) }

func (b *buildKit) close() error { return b.daemon.Close() }

func (b *buildKit) build(ctx context.Context, dir, ref string, args []string) (sample, error) {
	var flags []string
	for i, a := range args {
		if i%2 == 1 {
			flags = append(flags, "--opt", "build-arg:"+a)
		}
	}
	return b.control(ctx, dir, ref, flags)
}

func (b *buildKit) control(ctx context.Context, dir, ref string, flags []string) (sample, error) {
	all := append([]string{
		"build", "--frontend", "dockerfile.v0", "--local", "context=" + dir, "--local", "dockerfile=" + dir,
		"--output", "type=image,push=true,name=" + ref,
	}, flags...)
	return measure(b.daemon.Command(ctx, all...), b.daemon.PID)
}

func (b *buildKit) cached(ctx context.Context, dir, ref, cache string, keep bool) (sample, error) {
	flags := []string{"--import-cache", "type=registry,ref=" + cache}
	if keep {
		flags = []string{"--export-cache", "type=registry,mode=max,ref=" + cache}
	}
	return b.control(ctx, dir, ref, flags)
}

type buildah struct{ state, conf string }

func newBuildah(state, registry string) (*buildah, error) {
	if err := os.MkdirAll(state, 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(state, "registries.conf")
	text := fmt.Sprintf("unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n"+
		"[[registry]]\nprefix = \"docker.io\"\nlocation = %[1]q\ninsecure = true\n[[registry]]\nlocation = %[1]q\ninsecure = true\n", registry)
	return &buildah{state, conf}, os.WriteFile(conf, []byte(text), 0o644)
}

func (b *buildah) name() string { return "buildah" }

func (b *buildah) close() error { return nil }

func (b *buildah) command(ctx context.Context, args ...string) *exec.Cmd {
	storage := []string{"--root", filepath.Join(b.state, "root"), "--runroot", filepath.Join(b.state, "run"), "--storage-driver", "overlay"}
	cmd := exec.CommandContext(ctx, "buildah", append(storage, args...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+b.conf)
	return cmd
}

func (b *buildah) reset(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.state, "root")); err != nil {
		return nil
	}
	if out, err := b.command(ctx, "rmi", "--all", "--force").CombinedOutput(); err != nil {
		return fmt.Errorf("empty buildah's storage: %w\n%s", err, out)
	}
	return nil
}

func (b *buildah) build(ctx context.Context, dir, ref string, args []string) (sample, error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return sample{}, err
	}
	build := append([]string{
		"build", "--isolation", "oci", "--runtime", runc, "--network", "host", "--layers", "--tls-verify=false", "-t", ref,
	}, args...)
	first, err := measure(b.command(ctx, append(build, dir)...), 0)
	if err != nil {
		return first, err
	}
	second, err := measure(b.command(ctx, "push", "-q", "--tls-verify=false", ref, "docker://"+ref), 0)
	return sample{wall: first.wall + second.wall, cpu: first.cpu + second.cpu, peak: max(first.peak, second.peak)}, err
}

func (b *buildah) cached(ctx context.Context, dir, ref, cache string, keep bool) (sample, error) {
	args := []string{"--cache-from", cache}
	if keep {
		args = []string{"--cache-to", cache}
	}
	return b.build(ctx, dir, ref, args)
}

// since is the wall time in seconds.
func since(t time.Time) float64 { return time.Since(t).Seconds() }

func last(s string, n int) string { return strings.TrimSpace(s[max(0, len(s)-n):]) }
