// Package release is strake's work from end to end, as jobs of a CI system do it: two builds for two platforms, whose
// digests are handed on in files; one index of them, checked and signed before a tag moves; and, where nothing but the
// registry can be reached, its verification and a build that starts from it.
package release

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/strake-build/strake/integration/loopback"
)

//go:embed hello
var source embed.FS

// Pipeline is one, in a directory of its own.
type Pipeline struct {
	Executor, Manifest string // the programs
	Dir                string
	// Store and Port are the registry's: it is served again where nothing else can be reached.
	Store string
	Port  int
	// Quiet shows no commands.
	Quiet bool
}

// Arches are what is built for.
func Arches() []string { return []string{"amd64", "arm64"} }

func (p *Pipeline) repository() string { return fmt.Sprintf("127.0.0.1:%d/demo/hello", p.Port) }

func (p *Pipeline) path(parts ...string) string {
	return filepath.Join(append([]string{p.Dir}, parts...)...)
}

// Run does the whole, with a registry that listens already. It gives the index, as repository@digest, also with
// ErrNoNamespace: then all but After is done.
func (p *Pipeline) Run(ctx context.Context) (string, error) {
	if err := os.CopyFS(p.Dir, source); err != nil {
		return "", err
	}
	if err := os.MkdirAll(p.path("digests"), 0o755); err != nil {
		return "", err
	}
	for _, arch := range Arches() {
		if err := p.build(ctx, arch); err != nil {
			return "", err
		}
	}
	ref, err := p.merge(ctx)
	if err != nil {
		return "", err
	}
	return ref, p.offline(ctx, ref)
}

// build is the job for one platform.
func (p *Pipeline) build(ctx context.Context, arch string) error {
	context := p.path("context-" + arch)
	if err := p.compile(ctx, arch, filepath.Join(context, "hello")); err != nil {
		return err
	}
	dockerfile := "FROM scratch\nCOPY hello /hello\n"
	how, err := Emulation(arch)
	switch {
	case err == nil:
		dockerfile += "RUN [\"/hello\", \"" + BuiltOn + "\"]\n"
	case !errors.Is(err, ErrNoEmulation):
		return err
	case !p.Quiet:
		fmt.Printf("(%v: nothing is run for %s)\n", err, arch)
	}
	dockerfile += "LABEL org.opencontainers.image.revision=0123abc\nENTRYPOINT [\"/hello\"]\n"
	if err := os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return err
	}
	args := []string{
		"--context", context, "--kaniko-dir", p.path("state-" + arch), "--platform", "linux/" + arch,
		"--destination", p.repository() + ":1.0-" + arch, "--image-name-with-digest-file", p.path("digests", arch), "--verbosity", "error",
	}
	cmd := exec.CommandContext(ctx, p.Executor, args...)
	if how == inOwnNamespace {
		if cmd, err = inNamespace(ctx, emulated{arch, append([]string{p.Executor}, args...)}); err != nil {
			return err
		}
	}
	_, err = p.carry(cmd, p.Executor, args)
	return err
}

// BuiltOn is the file in which an image says what it was built on, where something could be run for it.
const BuiltOn = "/built-on"

func (p *Pipeline) compile(ctx context.Context, arch, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, p.path("hello", "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GO111MODULE=off", "GOOS=linux", "GOARCH="+arch)
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile for %s: %w\n%s", arch, err, b)
	}
	return nil
}

// merge is the job that makes one index of what the others have built.
func (p *Pipeline) merge(ctx context.Context) (string, error) {
	if _, err := p.run(ctx, p.Manifest, "generate-key-pair", "--output-key-prefix", p.path("cosign"), "--verbosity", "error"); err != nil {
		return "", err
	}
	out, err := p.run(ctx, p.Manifest, "create", "--target", p.repository()+":1.0", "--digests", p.path("digests"),
		"--expect-platforms", "linux/amd64,linux/arm64", "--sign", "--key", p.path("cosign.key"), "--verbosity", "error")
	if err != nil {
		return "", err
	}
	ref := strings.TrimSpace(out)
	if repository, digest, ok := strings.Cut(ref, "@"); !ok || repository != p.repository() || !strings.HasPrefix(digest, "sha256:") || strings.Contains(ref, "\n") {
		return "", fmt.Errorf("manifest create has printed %q, and no more than the index was to be there", out)
	}
	return ref, nil
}

// After is what is done with the index where nothing but the registry is.
func (p *Pipeline) After(ctx context.Context, ref string) error {
	for _, format := range []string{"legacy", "bundle"} {
		out, err := p.run(ctx, p.Manifest, "verify", "--recursive", "--key", p.path("cosign.pub"), "--signature-format", format, "--output", "text", "--verbosity", "error", ref)
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) != ref {
			return fmt.Errorf("manifest verify has printed %q, not %s", out, ref)
		}
	}
	next := p.path("context-next")
	if err := os.MkdirAll(next, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(next, "Dockerfile"), []byte("FROM "+ref+"\nCOPY Dockerfile /\n"), 0o600); err != nil {
		return err
	}
	_, err := p.run(ctx, p.Executor, "--context", next, "--kaniko-dir", p.path("state-next"), "--platform", "linux/arm64",
		"--destination", p.repository()+"-next:1.0", "--verbosity", "error")
	return err
}

// run runs one of the programs, and gives its stdout.
func (p *Pipeline) run(ctx context.Context, program string, args ...string) (string, error) {
	return p.carry(exec.CommandContext(ctx, program, args...), program, args)
}

func (p *Pipeline) carry(cmd *exec.Cmd, program string, args []string) (string, error) {
	if !p.Quiet {
		fmt.Printf("$ %s %s\n", filepath.Base(program), strings.ReplaceAll(strings.Join(args, " "), p.Dir+"/", ""))
	}
	cmd.Env = append(cmd.Environ(), "COSIGN_PASSWORD=secret", "DOCKER_CONFIG="+p.Dir, "HOME="+p.Dir)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), args[0], err, errs.String())
	}
	if !p.Quiet && len(out) > 0 {
		fmt.Print(string(out))
	}
	return string(out), nil
}

// serve serves the registry's store once more.
func (p *Pipeline) serve(ctx context.Context) (*loopback.Server, error) {
	store, err := loopback.OpenStore(p.Store)
	if err != nil {
		return nil, err
	}
	return loopback.Listen(ctx, p.Port, &loopback.Handler{Store: store})
}

var errAttempts = errors.New("somebody else than the registry was to be reached")
