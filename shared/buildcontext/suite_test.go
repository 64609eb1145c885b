package buildcontext_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/registry/registrytest"
)

// way is a kind of source with a context in it.
type way struct {
	source func(t *testing.T, sub string) buildcontext.Source
	means  buildcontext.Means
	once   bool
}

// everyWay puts the same context everywhere.
func everyWay(t *testing.T) map[string]way {
	files := []string{"Dockerfile = FROM scratch\n", "dir/", "dir/a = alpha", "dir/sub/", "dir/sub/b = beta", "link -> dir/sub"}
	archive := pack(t, files...)
	bzip2 := bzip2ed(t, archive)
	ways := map[string]way{}
	of := func(ref string, o buildcontext.Options) way {
		return way{source: func(t *testing.T, sub string) buildcontext.Source {
			o.SubPath = sub
			s, err := buildcontext.New(ref, o)
			must(t, err)
			return s
		}}
	}
	dir := t.TempDir()
	unpackTo(t, dir, files)
	ways["dir"] = of("dir://"+dir, buildcontext.Options{})
	for name, data := range map[string][]byte{
		"tar": archive, "gzip": gzipped(t, archive), "zstd": zstandard(t, archive), "xz": xzed(t, archive), "bzip2": bzip2,
	} {
		if data == nil {
			continue
		}
		// The name says nothing about what is in it.
		file := filepath.Join(t.TempDir(), "context.bin")
		must(t, os.WriteFile(file, data, 0o644))
		ways[name] = of("tar://"+file, buildcontext.Options{})
	}
	stdin := way{once: true, source: func(t *testing.T, sub string) buildcontext.Source {
		s, err := buildcontext.New("tar://stdin", buildcontext.Options{SubPath: sub, Stdin: bytes.NewReader(gzipped(t, archive))})
		must(t, err)
		return s
	}}
	ways["stdin"] = stdin
	web := serve(t, gzipped(t, archive))
	ways["https"] = of(web.URL+"/x?sig=secret", buildcontext.Options{})
	ways["gs"] = of("gs://bucket/some/context.tar.gz", buildcontext.Options{GCS: buildcontext.GCS{Endpoint: web.URL}})
	ways["s3"] = of("s3://bucket/some/context.tar.gz", buildcontext.Options{S3: buildcontext.S3{Endpoint: web.URL, Config: fixedKeys}})
	ways["azure"] = of("https://acct.blob.core.windows.net/c/some/context.tar.gz", buildcontext.Options{
		Azure: buildcontext.Azure{Endpoint: web.URL, Key: "a2V5"},
	})
	ways["oci"] = ociWay(t, of, gzipped(t, archive))
	if w, ok := gitWay(t, of, files); ok {
		ways["git"] = w
	}
	return ways
}

func fixedKeys(context.Context) (aws.Config, error) {
	return aws.Config{Region: "eu-central-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}, nil
	})}, nil
}

// bzip2ed is nil where there is no bzip2.
func bzip2ed(t *testing.T, data []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath("bzip2"); err != nil {
		return nil
	}
	cmd := exec.Command("bzip2")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	must(t, err)
	return out
}

func unpackTo(t *testing.T, dir string, files []string) {
	t.Helper()
	for _, f := range files {
		if name, text, ok := strings.Cut(f, " = "); ok {
			must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		} else if name, target, ok := strings.Cut(f, " -> "); ok {
			must(t, os.Symlink(target, filepath.Join(dir, name)))
		}
	}
}

func ociWay(t *testing.T, of func(string, buildcontext.Options) way, data []byte) way {
	t.Helper()
	s := registrytest.New(t)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.cncf.flux.config.v1+json")
	img, err := mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(data, "application/vnd.cncf.flux.content.v1.tar+gzip")})
	must(t, err)
	s.Push(t, "context:1", img)
	client, err := registry.New(registry.Options{Insecure: true, InsecurePull: true})
	must(t, err)
	w := of("oci://"+s.Ref("context:1"), buildcontext.Options{})
	w.means.Registry = client
	return w
}

func gitWay(t *testing.T, of func(string, buildcontext.Options) way, files []string) (way, bool) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		return way{}, false
	}
	root := t.TempDir()
	dir := filepath.Join(root, "repo.git")
	must(t, os.Mkdir(dir, 0o755))
	unpackTo(t, dir, files)
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "all")
	s := httptest.NewServer(gitBackend(t, root))
	t.Cleanup(s.Close)
	return of(s.URL+"/repo.git", buildcontext.Options{}), true
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = gitEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func gitEnv() []string {
	env := []string{"HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "PATH=" + os.Getenv("PATH")}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		env = append(env, "GIT_"+who+"_NAME=Me", "GIT_"+who+"_EMAIL=me@example.com")
	}
	return env
}

func gitBackend(t *testing.T, root string) http.Handler {
	t.Helper()
	return &cgi.Handler{
		Path: filepath.Join(git(t, root, "--exec-path"), "git-http-backend"),
		Env:  append(gitEnv(), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"),
	}
}

// The contract of Source.
func TestEveryWay(t *testing.T) {
	for name, w := range everyWay(t) {
		t.Run(name, func(t *testing.T) {
			const whole = "Dockerfile = FROM scratch\n, dir/, dir/a = alpha, dir/sub/, dir/sub/b = beta, link -> dir/sub"
			s := w.source(t, "")
			for range 2 {
				c, err := fetch(t, s, w.means)
				must(t, err)
				if got := list(t, c); got != whole {
					t.Errorf("got %q", got)
				}
				if (c.Dir == "") == (c.Table == nil) || strings.Contains(c.Origin, "secret") || (c.Origin == "") != (c.Dir != "") || (len(c.Digest) == 0) != (c.Dir != "") || strings.Contains(c.URI, "secret") {
					t.Errorf("dir %q, table %v, origin %q", c.Dir, c.Table != nil, c.Origin)
				}
				if w.once {
					break
				}
			}
			c, err := fetch(t, w.source(t, "/dir/./sub"), w.means)
			must(t, err)
			if got := list(t, c); got != "b = beta" {
				t.Errorf("below: got %q", got)
			}
			c, err = fetch(t, w.source(t, "../../dir"), w.means)
			must(t, err)
			if got := list(t, c); got != "a = alpha, sub/, sub/b = beta" {
				t.Errorf("a path that leads out: got %q", got)
			}
			if name == "dir" {
				return
			}
			if _, err := fetch(t, w.source(t, "nowhere"), w.means); err == nil || !strings.Contains(err.Error(), "nowhere") {
				t.Errorf("a folder that is not there: %v", err)
			}
			stopped := errors.New("stopped")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(stopped)
			m := w.means
			m.Dir = t.TempDir()
			if _, err := w.source(t, "").Fetch(ctx, m); err == nil {
				t.Error("a cancelled fetch gave a context")
			}
		})
	}
}
