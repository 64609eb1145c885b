package kaniko

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/integration/environments"
	"github.com/strake-build/strake/integration/imagetree"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

const (
	user     = "ci"
	password = "c4n4ry-password"
)

// project is what the pipelines build: a base from Docker Hub, a step, files, an argument, stages.
func project() map[string]string {
	return map[string]string{
		"Dockerfile": `FROM busybox AS build
ARG VERSION=none
RUN echo "version $VERSION" > /version && chown 7:8 /version
FROM busybox AS release
LABEL from=Dockerfile
COPY --from=build /version /version
COPY . /app
RUN cat /version /app/hello.txt > /both
FROM release
`,
		"hello.txt": "hello\n", "deep/er/file": "content\n",
	}
}

// pipeline is a job of a CI system: one container after another from one image, with the same mounts and variables.
type pipeline struct {
	t        *testing.T
	registry *registrytest.Server
	mounts   []mount
	env      []string
	shell    bool // the image with a shell
}

type mount struct {
	source, at string
	readOnly   bool
}

// newPipeline starts with a registry that asks for a login, and a config.json that has it, where kaniko's users mount
// theirs. Docker Hub is played by the kit's registry.
func newPipeline(t *testing.T, login registrytest.Auth) *pipeline {
	t.Helper()
	p := &pipeline{t: t, registry: registrytest.New(t), env: []string{"KANIKO_REGISTRY_MAP=index.docker.io=" + kit.Registry}}
	login.User, login.Password = user, password
	p.registry.Require(login)
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	dir := p.dir(map[string]string{"config.json": fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, p.registry.Host, auth)})
	p.mount(filepath.Join(dir, "config.json"), "/kaniko/.docker/config.json", true)
	return p
}

// dir is a directory with files that containers can read.
func (p *pipeline) dir(files map[string]string) string {
	p.t.Helper()
	dir, err := os.MkdirTemp("", "strake-pipeline-")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		p.t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	return dir
}

func (p *pipeline) mount(source, at string, readOnly bool) {
	p.mounts = append(p.mounts, mount{source, at, readOnly})
}

// ref is a name in the pipeline's registry.
func (p *pipeline) ref(name string) string { return p.registry.Ref(name) }

// docker runs a container as `docker run IMAGE ARG…` does, and wants it to end well.
func (p *pipeline) docker(args ...string) environments.Run {
	p.t.Helper()
	return p.start(environments.Process{Args: args})
}

func (p *pipeline) start(proc environments.Process) environments.Run {
	p.t.Helper()
	env := environments.Named("E1")
	c := bed.Container
	if p.shell {
		c = func(t *testing.T, env environments.Environment, _ bool) *environments.Container {
			return bed.Shell(t, env)
		}
	}
	container := c(p.t, env, false)
	for _, m := range p.mounts {
		container.Mount(p.t, m.source, m.at, m.readOnly)
	}
	proc.Env = append(p.env, proc.Env...)
	run, err := container.Start(p.t.Context(), proc)
	if err != nil {
		p.t.Fatal(err)
	}
	if run.Code != 0 {
		p.t.Fatalf("%q ended with %d\n%s", append(proc.Argv, proc.Args...), run.Code, run.Stderr)
	}
	if strings.Contains(run.Stdout+run.Stderr, password) {
		p.t.Errorf("the password is in the log")
	}
	return run
}

// pushed looks at an image that was pushed: it must be the project's.
func (p *pipeline) pushed(name, version string) v1.Image {
	p.t.Helper()
	img := p.registry.Image(p.t, name)
	p.isProject(img, version)
	return img
}

func (p *pipeline) isProject(img v1.Image, version string) {
	p.t.Helper()
	tree, err := imagetree.Flatten(img)
	if err != nil {
		p.t.Fatal(err)
	}
	for name, want := range map[string]struct{ size, uid int64 }{
		"version": {int64(len("version " + version + "\n")), 7}, "both": {int64(len("version " + version + "\nhello\n")), 0},
		"app/deep/er/file": {8, 0}, "app/Dockerfile": {int64(len(project()["Dockerfile"])), 0},
	} {
		// COPY --from without --chown makes files root's; both are seen by steps as they are.
		if n := tree[name]; n == nil || n.Size != want.size {
			p.t.Errorf("%s: %+v, want %d bytes", name, n, want.size)
		}
	}
	for _, name := range []string{"kaniko", "workspace", "busybox", "cache", "context.tar.gz", "app/context.tar.gz", "root/.docker"} {
		if tree[name] != nil {
			p.t.Errorf("%s is in the image", name)
		}
	}
}

// archive is the project as a tar that gzip has compressed.
func archive(t *testing.T, dir string) []byte {
	t.Helper()
	out, err := exec.Command("tar", "-C", dir, "-czf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// podman runs podman with storage of its own.
func podman(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	base := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
	var out bytes.Buffer
	script := ""
	for i, a := range args {
		if i > 0 {
			script += " && "
		}
		script += "podman " + strings.Join(base, " ") + " " + a
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s", script, err, out.String())
	}
	return out.String()
}
