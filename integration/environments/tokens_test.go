package environments

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/registry/registrytest"
)

// where Kubernetes puts tokens of service accounts, and in which variable the program that is to read one finds its name.
const (
	tokenPlace    = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
	tokenVariable = "AWS_WEB_IDENTITY_TOKEN_FILE"
)

// TestTokensAreReadLate pushes with a token that lies in a projected volume, below a name that goes through the image's
// links, and that is another one when the build ends: it is read when the registry asks, not before.
func TestTokensAreReadLate(t *testing.T) {
	// Elsewhere a step has a root of its own, and the builder's stays as it is.
	inPlace := func(env Environment, r root) bool { return !r.foreign && r.want.View == "inplace" && stands(env) }
	each(t, inPlace, func(t *testing.T, env Environment, _ root) {
		c := bed.Shell(t, env)
		registry := registrytest.New(t)
		registry.Require(registrytest.Auth{User: "token", Password: "the first"})
		context := filepath.Join(c.dir, "context")
		for name, text := range map[string]string{
			"Dockerfile": `FROM busybox AS step
RUN touch /workspace/started && while [ ! -e /workspace/rotated ]; do sleep 0.05; done && echo done >/done
FROM scratch
COPY --from=step /done /
`,
		} {
			if err := writeFile(filepath.Join(context, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(context, 0o777); err != nil {
			t.Fatal(err)
		}
		c.Mount(t, context, "/workspace", false)
		volume := filepath.Join(c.dir, "token")
		project(t, volume, "first", "the first")
		c.Mount(t, volume, tokenPlace, true)
		c.login(t, registry.Host)

		rotated := make(chan error, 1)
		go func() {
			for {
				if _, err := os.Stat(filepath.Join(context, "started")); err == nil {
					break
				}
				select {
				case <-t.Context().Done():
					rotated <- t.Context().Err()
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
			registry.Require(registrytest.Auth{User: "token", Password: "the second"})
			project(t, volume, "second", "the second")
			rotated <- writeFile(filepath.Join(context, "rotated"), "", 0o644)
		}()
		run, err := c.Run(t.Context(), bed.Command(c, false, registry.Ref("app:1"), "--skip-push-permission-check"), tokenVariable+"="+tokenPlace+"/token")
		if err != nil {
			t.Fatal(err)
		}
		if run.Code != 0 {
			t.Fatalf("the executor ended with %d:\n%s", run.Code, lastLines(run.Stderr, 40))
		}
		if err := <-rotated; err != nil {
			t.Error(err)
		}
		for _, no := range []string{"the first", "the second"} {
			if strings.Contains(run.Stderr+run.Stdout, no) {
				t.Errorf("the log has the token:\n%s", run.Stderr)
			}
		}
	})
}

// project writes a volume as the kubelet does: names that lead through ..data, which is renamed over.
func project(t *testing.T, volume, version, token string) {
	t.Helper()
	if err := writeFile(filepath.Join(volume, ".."+version, "token"), token, 0o444); err != nil {
		t.Error(err)
	}
	_ = os.Symlink("..data/token", filepath.Join(volume, "token")) // it is there from the second time on
	next := filepath.Join(volume, "..data_tmp")
	if err := os.Symlink(".."+version, next); err != nil {
		t.Error(err)
	}
	if err := os.Rename(next, filepath.Join(volume, "..data")); err != nil {
		t.Error(err)
	}
}

// login gives the container a program that reads the token when it is asked for a credential.
func (c *Container) login(t *testing.T, host string) {
	t.Helper()
	program := filepath.Join(c.dir, "docker-credential-late")
	script := fmt.Sprintf("#!/busybox/sh\ntoken=$(/busybox/cat \"$%s\") || exit 1\nprintf '{\"Username\":\"token\",\"Secret\":\"%%s\"}' \"$token\"\n", tokenVariable)
	if err := writeFile(program, script, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Mount(t, program, "/kaniko/docker-credential-late", true)
	config := filepath.Join(c.dir, "docker.json")
	if err := writeFile(config, fmt.Sprintf(`{"credHelpers":{%q:"late"}}`, host), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Mount(t, config, "/kaniko/.docker/config.json", true)
}
