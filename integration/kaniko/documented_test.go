package kaniko

import (
	"bytes"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/strake-build/strake/integration/environments"
	"github.com/strake-build/strake/integration/testkit"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// docker run -v $(pwd):/workspace -v config.json:/kaniko/.docker/config.json:ro executor --dockerfile … --destination …
func TestLocalDirectory(t *testing.T) {
	for name, login := range map[string]registrytest.Auth{"basic": {}, "token": {Bearer: true}} {
		t.Run(name, func(t *testing.T) {
			p := newPipeline(t, login)
			p.mount(p.dir(project()), "/workspace", false)
			run := p.docker("--dockerfile=Dockerfile", "--context=dir:///workspace", "--destination="+p.ref("team/app:1"))
			d, err := p.pushed("team/app:1", "none").Digest()
			if err != nil {
				t.Fatal(err)
			}
			if run.Stdout != p.ref("team/app")+"@"+d.String()+"\n" {
				t.Errorf("stdout is %q", run.Stdout)
			}
			if !strings.Contains(run.Stderr, "isolated by inplace with real ids") {
				t.Errorf("not built in place:\n%s", run.Stderr)
			}
		})
	}
}

// The context as a compressed tar on a volume.
func TestLocalTar(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	dir := p.dir(map[string]string{"path/to/context.tar.gz": string(archive(t, p.dir(project())))})
	p.mount(filepath.Join(dir, "path"), "/path", true)
	p.docker("--dockerfile=Dockerfile", "--context=tar:///path/to/context.tar.gz", "--destination="+p.ref("app:1"))
	p.pushed("app:1", "none")
}

// tar -cf - . | gzip -9 | docker run --interactive … --context tar://stdin
func TestStandardInput(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	p.mount(p.dir(nil), "/workspace", false)
	p.start(environments.Process{
		Args:  []string{"--context", "tar://stdin", "--destination=" + p.ref("app:1")},
		Stdin: bytes.NewReader(archive(t, p.dir(project()))),
	})
	p.pushed("app:1", "none")
}

// --context=git://host/app.git#refs/heads/branch#commit, with a login for the repository.
func TestGit(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	url, commit := gitServer(t, p)
	p.env = append(p.env, "GIT_PULL_METHOD=http", "GIT_USERNAME="+user, "GIT_PASSWORD="+password)
	p.docker("--context=git://"+url+"/app.git#refs/heads/feature#"+commit, "--destination="+p.ref("commit:1"))
	p.pushed("commit:1", "none")
	p.docker("--context=git://"+url+"/app.git", "--git=branch=feature", "--context-sub-path=deep", "--dockerfile=er/Dockerfile", "--destination="+p.ref("branch:1"))
	if n := layers(t, p, "branch:1"); n != 1 {
		t.Errorf("%d layers of a newer commit's Dockerfile", n)
	}
}

// gitServer serves a repository with two commits on its branch feature, and returns its address and the first commit.
func gitServer(t *testing.T, p *pipeline) (host, commit string) {
	t.Helper()
	dir, root := p.dir(project()), t.TempDir()
	env := []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@y", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@y"}
	git := func(args ...string) string {
		return testkit.Must(t, env, "git", append([]string{"-C", dir}, args...)...)
	}
	git("init", "-q", "-b", "main")
	git("commit", "-q", "--allow-empty", "-m", "nothing")
	git("checkout", "-q", "-b", "feature")
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	commit = git("rev-parse", "HEAD")
	if err := os.WriteFile(filepath.Join(dir, "deep/er/Dockerfile"), []byte("FROM scratch\nCOPY . /\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	git("add", "-A")
	git("commit", "-q", "-m", "second")
	git("clone", "-q", "--bare", dir, filepath.Join(root, "app.git"))
	backend := &cgi.Handler{
		Path: filepath.Join(git("--exec-path"), "git-http-backend"),
		Env:  append(env, "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1"),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, pw, _ := r.BasicAuth(); u != user || pw != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), commit
}

func layers(t *testing.T, p *pipeline, name string) int {
	t.Helper()
	all, err := p.registry.Image(t, name).Layers()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A bucket of a server that speaks S3, with the variables that kaniko documents for MinIO.
func TestBucketS3(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	root, port := t.TempDir(), testkit.FreePort(t)
	putObject(t, root, archive(t, p.dir(project())))
	testkit.Serve(t, port, []string{"ROOT_ACCESS_KEY=AKID", "ROOT_SECRET_KEY=SECRET"}, testkit.ObjectStore(t, "versitygw"),
		"--port", "127.0.0.1:"+port, "--region", "us-east-1", "posix", "--nometa", root)
	p.env = append(p.env, "AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=SECRET", "AWS_REGION=us-east-1",
		"S3_ENDPOINT=http://127.0.0.1:"+port, "S3_FORCE_PATH_STYLE=true")
	p.docker("--dockerfile=Dockerfile", "--context=s3://kaniko-bucket/path/to/context.tar.gz", "--destination="+p.ref("app:1"))
	p.pushed("app:1", "none")
}

// A bucket of Google Cloud Storage, by --context and by the older --bucket.
func TestBucketGCS(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	root, port := t.TempDir(), testkit.FreePort(t)
	putObject(t, root, archive(t, p.dir(project())))
	testkit.Serve(t, port, nil, testkit.ObjectStore(t, "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-data", root)
	p.env = append(p.env, "STORAGE_EMULATOR_HOST=127.0.0.1:"+port)
	p.docker("--dockerfile=Dockerfile", "--context=gs://kaniko-bucket/path/to/context.tar.gz", "--destination="+p.ref("app:1"))
	p.pushed("app:1", "none")
	p.docker("--bucket=kaniko-bucket/path/to/context.tar.gz", "--destination="+p.ref("app:2"))
	p.pushed("app:2", "none")
}

func putObject(t *testing.T, root string, content []byte) {
	t.Helper()
	dir := filepath.Join(root, "kaniko-bucket", "path", "to")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "context.tar.gz"), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// --cache=true --cache-repo: what the first job made the second one finds, in another container.
func TestCache(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{Bearer: true})
	p.mount(p.dir(project()), "/workspace", false)
	args := []string{"--cache=true", "--cache-repo=" + p.ref("team/cache"), "--log-format", "text"}
	p.docker(append(args, "--destination="+p.ref("team/app:1"))...)
	run := p.docker(append(args, "--destination="+p.ref("team/app:2"))...)
	if !strings.Contains(run.Stderr, "CACHED") || !strings.Contains(run.Stderr, "cache: 4 of 4 steps found") {
		t.Errorf("nothing was found:\n%s", run.Stderr)
	}
	p.pushed("team/app:2", "none")
}

// A Dockerfile with arguments, a target and labels; names and digests in files, as Tekton reads them.
func TestArgumentsTargetLabels(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	p.mount(p.dir(project()), "/workspace/source", false)
	results := p.dir(nil)
	p.mount(results, "/tekton/results", false)
	p.docker("--dockerfile=/workspace/source/Dockerfile", "--context=/workspace/source", "--destination="+p.ref("app:1"), "--destination="+p.ref("app:latest"),
		"--build-arg=VERSION=1.2", "--target=release", "--label=org.opencontainers.image.version=1.2",
		"--digest-file=/tekton/results/IMAGE_DIGEST", "--image-name-with-digest-file=/tekton/results/IMAGE_URL", "--oci-layout-path=/tekton/results/layout",
		"--snapshotMode=redo", "--use-new-run", "--skip-unused-stages", "--single-snapshot")
	img := p.pushed("app:1", "1.2")
	conf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if l := conf.Config.Labels; l["org.opencontainers.image.version"] != "1.2" || l["from"] != "Dockerfile" {
		t.Errorf("labels %v", l)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"IMAGE_DIGEST": d.String(),
		"IMAGE_URL":    p.ref("app@"+d.String()) + "\n" + p.ref("app@"+d.String()) + "\n",
	} {
		if got, err := os.ReadFile(filepath.Join(results, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(results, "layout", "index.json")); err != nil {
		t.Error(err)
	}
}

// Build, scan, push: the archive is loaded by podman, and pushed as it is by a second container.
func TestTarball(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	p.mount(p.dir(project()), "/workspace", false)
	out := p.dir(nil)
	p.mount(out, "/out", false)
	p.docker("--no-push", "--tarPath=/out/image.tar", "--destination="+p.ref("app:1"))
	file := filepath.Join(out, "image.tar")
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.isProject(img, "none")
	said := podman(t, "load -q -i "+file, "image inspect --format '{{.Id}}' "+p.ref("app:1"))
	if !strings.Contains(said, p.ref("app:1")) {
		t.Errorf("podman says %s", said)
	}
	p.docker("push", "/out/image.tar", "--destination="+p.ref("app:1"))
	p.pushed("app:1", "none")
}

// GitLab's job: the image with a shell, whose script writes config.json and calls /kaniko/executor, here twice, with
// --cleanup between.
func TestGitLab(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{Bearer: true})
	p.mounts, p.shell = nil, true // the job writes config.json itself
	p.mount(p.dir(project()), "/builds/group/app", false)
	p.env = append(p.env, "CI_PROJECT_DIR=/builds/group/app", "CI_COMMIT_TAG=v1", "CI_REGISTRY="+p.registry.Host,
		"CI_REGISTRY_IMAGE="+p.ref("group/app"), "REGISTRY_LOGIN="+user, "REGISTRY_PASS="+password)
	p.start(environments.Process{Argv: []string{"/busybox/sh", "-ec", `
mkdir -p /kaniko/.docker
echo "{\"auths\":{\"${CI_REGISTRY}\":{\"auth\":\"$(printf "%s:%s" "${REGISTRY_LOGIN}" "${REGISTRY_PASS}" | base64 | tr -d '\n')\"}}}" > /kaniko/.docker/config.json
/kaniko/executor --context "${CI_PROJECT_DIR}" --dockerfile "${CI_PROJECT_DIR}/Dockerfile" --destination "${CI_REGISTRY_IMAGE}:${CI_COMMIT_TAG}" --cleanup
/kaniko/executor --context "${CI_PROJECT_DIR}" --dockerfile "${CI_PROJECT_DIR}/Dockerfile" --destination "${CI_REGISTRY_IMAGE}/second:${CI_COMMIT_TAG}" --build-arg VERSION=2 --cleanup
test -f "${CI_PROJECT_DIR}/hello.txt"`}})
	p.pushed("group/app:v1", "none")
	p.pushed("group/app/second:v1", "2")
}

// A volume of warmed base images: the build then needs no registry for its base.
func TestWarmedVolume(t *testing.T) {
	p := newPipeline(t, registrytest.Auth{})
	p.shell = true // it has the warmer, too
	p.mount(p.dir(project()), "/workspace", false)
	p.mount(p.dir(nil), "/cache", false)
	p.start(environments.Process{Argv: []string{"/kaniko/warmer", "--cache-dir=/cache", "--image=busybox"}})
	p.env[0] = "KANIKO_REGISTRY_MAP=index.docker.io=127.0.0.1:1"
	p.docker("--cache=true", "--cache-dir=/cache", "--destination="+p.ref("app:1"))
	p.pushed("app:1", "none")
}
