package environments

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/ssh/agent"

	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/integration/testkit"
)

// Bed is what the environments share: the images, the profiles, a cache of downloads.
type Bed struct {
	Kit       *testkit.Kit
	Profiles  Profiles
	Downloads *testkit.Downloads

	official, debug, foreign func() (*Image, error)
	layoutsOnce              func() (string, error)
	dir                      string
}

// NewBed prepares what is quick; images are made when they are first asked for.
func NewBed(ctx context.Context, kit *testkit.Kit) (*Bed, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	// The kit's own directory is closed to others, and containers' users must get to their roots.
	if err := os.Chmod(kit.Dir, 0o711); err != nil {
		return nil, err
	}
	b := &Bed{Kit: kit, dir: kit.Dir}
	if b.Profiles, err = BuildProfiles(ctx, kit.Dir); err != nil {
		return nil, err
	}
	b.Downloads, err = testkit.ServeDownloads(ctx, filepath.Join(cache, "strake", "packages"), filepath.Join(kit.Dir, "downloads"))
	if err != nil {
		return nil, err
	}
	b.layoutsOnce = sync.OnceValues(func() (string, error) { return b.layouts(ctx) })
	from := func(name string) func() (*Image, error) {
		return sync.OnceValues(func() (*Image, error) {
			dir, err := b.layoutsOnce()
			if err != nil {
				return nil, err
			}
			images, err := imagetree.FromLayout(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			return Unpack(ctx, images[0], filepath.Join(b.dir, "roots", name))
		})
	}
	b.official, b.debug = from("executor"), from("executor-debug")
	b.foreign = sync.OnceValues(func() (*Image, error) { return b.unpackForeign(ctx) })
	return b, nil
}

// Layouts is the directory of the official images, as OCI layouts.
func (b *Bed) Layouts() (string, error) { return b.layoutsOnce() }

// Close ends what the bed runs.
func (b *Bed) Close() error { return b.Downloads.Close() }

// layouts builds the official images with the executor that is tested.
func (b *Bed) layouts(ctx context.Context) (string, error) {
	root, err := testkit.Root(ctx)
	if err != nil {
		return "", err
	}
	bin, out := filepath.Join(b.dir, "bin"), filepath.Join(b.dir, "layouts")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", bin, "./warmer", "./manifest")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build warmer and manifest: %w\n%s", err, out)
	}
	if err := os.Link(b.Kit.Executor, filepath.Join(bin, "executor")); err != nil {
		if err := copyFile(b.Kit.Executor, filepath.Join(bin, "executor")); err != nil {
			return "", err
		}
	}
	return out, BuildImages(ctx, bin, out, []string{"linux/" + runtime.GOARCH})
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// BuildImages builds the official images for some platforms, with the executor in bin, as OCI layouts below out.
func BuildImages(ctx context.Context, bin, out string, platforms []string, args ...string) error {
	root, err := testkit.Root(ctx)
	if err != nil {
		return err
	}
	// The checkout may get another commit meanwhile.
	args = append([]string{out, "--label", "org.opencontainers.image.revision=tested"}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "images"), args...)
	cmd.Env = append(os.Environ(), "BIN="+bin, "PLATFORMS="+strings.Join(platforms, " "))
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the official images: %w\n%s", err, b)
	}
	return nil
}

// unpackForeign makes a Debian that somebody put the executor into: it has a user of its own, who has subordinate ids,
// and programs with file capabilities that map them.
func (b *Bed) unpackForeign(ctx context.Context) (*Image, error) {
	images, err := imagetree.Pull(ctx, b.Kit.Registry+"/library/toolbox:latest")
	if err != nil {
		return nil, err
	}
	i, err := Unpack(ctx, images[0], filepath.Join(b.dir, "foreign"))
	if err != nil {
		return nil, err
	}
	script := `useradd --create-home --uid 1000 --shell /bin/bash builder
echo builder:300000:65536 | tee /etc/subuid >/etc/subgid
chmod 0755 /usr/bin/newuidmap /usr/bin/newgidmap
setcap cap_setuid+ep /usr/bin/newuidmap
setcap cap_setgid+ep /usr/bin/newgidmap
mkdir -p /builder /workspace /proc /sys /dev /run /var/run/secrets/kubernetes.io/serviceaccount
touch /usr/local/bin/executor /etc/resolv.conf /etc/hostname`
	cmd := exec.CommandContext(ctx, "chroot", i.dir, "/bin/sh", "-euc", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("prepare the foreign image: %w\n%s", err, out)
	}
	return i, nil
}

// Container makes a container of the environment: with the official image, or one that the executor is a guest in.
func (b *Bed) Container(t *testing.T, env Environment, foreign bool) *Container {
	t.Helper()
	get := b.official
	if foreign {
		get = b.foreign
		// A guest is asked to keep its things in a volume.
		env.Volume = true
	}
	return b.container(t, env, get, foreign)
}

// Shell makes a container of the official image that has a shell.
func (b *Bed) Shell(t *testing.T, env Environment) *Container {
	t.Helper()
	return b.container(t, env, b.debug, false)
}

func (b *Bed) container(t *testing.T, env Environment, get func() (*Image, error), foreign bool) *Container {
	t.Helper()
	image, err := get()
	if err != nil {
		t.Fatal(err)
	}
	c := New(t, env, image, b.Profiles)
	if foreign {
		c.extra = append(c.extra, bind{b.Kit.Executor, executorIn(true), true})
	}
	return c
}

func executorIn(foreign bool) string {
	if foreign {
		return "/usr/local/bin/executor"
	}
	return "/kaniko/executor"
}

// Build is one build in a container.
type Build struct {
	Run

	Ref string
	// View and Identity are what the executor says that it chose.
	View, Identity string
}

var saysChoice = regexp.MustCompile(`isolated by (\w+) with (\w+) ids`)

// Command is what builds the context in /workspace and pushes it as ref.
func (b *Bed) Command(c *Container, foreign bool, ref string, args ...string) []string {
	argv := []string{
		executorIn(foreign), "--context", "/workspace", "--dockerfile", "/workspace/Dockerfile", "--log-format", "text",
		"--registry-map", "index.docker.io=" + b.Kit.Registry,
	}
	if ref == "" {
		argv = append(argv, "--no-push")
	} else {
		argv = append(argv, "--destination", ref, "--insecure")
	}
	return append(append(argv, c.place()...), args...)
}

// place says where the builder keeps its things, if that is not its usual place.
func (c *Container) place() []string {
	if !c.env.Volume {
		return nil
	}
	return []string{"--kaniko-dir", "/builder/strake"}
}

// Build builds a context that has been mounted in /workspace.
func (b *Bed) Build(t *testing.T, c *Container, foreign bool, args ...string) Build {
	t.Helper()
	out := Build{Ref: b.Kit.NewRef(strings.ToLower(c.env.Name))}
	var err error
	if out.Run, err = c.Run(t.Context(), b.Command(c, foreign, out.Ref, args...), "NAMED=not in the image"); err != nil {
		t.Fatal(err)
	}
	if m := saysChoice.FindStringSubmatch(out.Stderr); m != nil {
		out.View, out.Identity = m[1], m[2]
	}
	return out
}

// Pull loads what a build pushed.
func (o Build) Pull(t *testing.T) v1.Image {
	t.Helper()
	images, err := imagetree.Pull(t.Context(), o.Ref)
	if err != nil {
		t.Fatal(err)
	}
	return images[0]
}

// Context copies a directory of testdata, so that containers with their own ids can be given it.
func Context(t *testing.T, c *Container, from string) string {
	t.Helper()
	dir := filepath.Join(c.dir, "context")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	c.Mount(t, dir, "/workspace", false)
	return dir
}

// Agent serves an SSH agent with one key on a socket in the container, and returns the socket's name there.
func Agent(t *testing.T, c *Container) string {
	t.Helper()
	dir := filepath.Join(c.dir, "agent")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: "of the test"}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "socket"), 0o777); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, conn) // it ends when the other side has had enough
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		all.Wait()
	})
	c.Mount(t, dir, "/agent", false)
	return "/agent/socket"
}

// lastLines is the end of a log, for a failure's message.
func lastLines(s string, n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(s)), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// secret is a file with a secret in the container.
func (c *Container) secret(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(c.dir, "secret")
	if err := writeFile(filepath.Join(dir, "token"), "not in the image", 0o444); err != nil {
		t.Fatal(err)
	}
	c.Mount(t, dir, "/secret", true)
	return "/secret/token"
}
