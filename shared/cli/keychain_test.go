package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/cli"
)

func TestKeychain(t *testing.T) {
	dir := t.TempDir()
	write := func(name, host, user string) string {
		f := filepath.Join(dir, name)
		text := `{"auths":{"` + host + `":{"username":"` + user + `","password":"p"},"all.io":{"username":"` + user + `","password":"p"}}}`
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	write("docker/config.json", "docker.example", "docker")
	write("home/.docker/config.json", "home.example", "home")
	write("home/.config/containers/auth.json", "podman.example", "podman")
	write("kaniko/.docker/config.json", "kaniko.example", "kaniko")
	write("run/containers/auth.json", "run.example", "run")
	authFile := write("auth.json", "authfile.example", "authfile")
	home, kaniko := "HOME="+dir+"/home", "KANIKO_DIR="+dir+"/kaniko"
	dockerConfig, runtime := "DOCKER_CONFIG="+dir+"/docker", "XDG_RUNTIME_DIR="+dir+"/run"
	gitLab := []string{
		"CI_REGISTRY=gitlab.example:5050", "CI_REGISTRY_USER=ci", "CI_REGISTRY_PASSWORD=p", "CI_JOB_TOKEN=t",
		"CI_DEPENDENCY_PROXY_SERVER=gitlab.example:443", "CI_DEPENDENCY_PROXY_USER=proxy", "CI_DEPENDENCY_PROXY_PASSWORD=p",
	}
	registry := []string{"REGISTRY_USERNAME=reg", "REGISTRY_PASSWORD=p"}
	for name, tt := range map[string]struct {
		e    cli.Environment
		want map[string]string
	}{
		"docker's, by HOME": {cli.Environment{Variables: []string{home}}, map[string]string{
			"home.example": "home", "podman.example": "podman", "docker.example": "", "all.io": "home",
		}},
		"docker's, by DOCKER_CONFIG": {cli.Environment{Variables: []string{home, dockerConfig, kaniko}}, map[string]string{
			"docker.example": "docker", "home.example": "", "kaniko.example": "kaniko", "podman.example": "podman", "all.io": "docker",
		}},
		"podman's": {cli.Environment{Variables: []string{home, runtime}}, map[string]string{"run.example": "run", "podman.example": "podman"}},
		"named":    {cli.Environment{Variables: []string{home, runtime, "REGISTRY_AUTH_FILE=" + authFile}}, map[string]string{"authfile.example": "authfile", "run.example": "", "home.example": "home"}},
		"inline": {cli.Environment{Variables: []string{home, `DOCKER_AUTH_CONFIG={"auths":{"all.io":{"username":"inline","password":"p"}}}`}}, map[string]string{
			"all.io": "inline", "home.example": "home",
		}},
		"kaniko's variables": {cli.Environment{Variables: []string{"KANIKO_R_IO_USER=env", "KANIKO_R_IO_PASSWORD=p"}}, map[string]string{"r.io": "env"}},
		"no env":             {cli.Environment{Variables: []string{home, "KANIKO_R_IO_USER=env", "KANIKO_R_IO_PASSWORD=p"}, Helpers: []string{"gitlab"}}, map[string]string{"r.io": "", "home.example": "home"}},
		"no helpers":         {cli.Environment{Variables: append(gitLab, "KANIKO_R_IO_USER=env", "KANIKO_R_IO_PASSWORD=p"), Helpers: []string{""}}, map[string]string{"r.io": "", "gitlab.example:5050": ""}},
		"GitLab":             {cli.Environment{Variables: gitLab}, map[string]string{"gitlab.example:5050": "ci", "gitlab.example": "proxy", "r.io": ""}},
		"GitLab's job token": {cli.Environment{Variables: []string{"CI_REGISTRY=gitlab.example:5050", "CI_JOB_TOKEN=t"}}, map[string]string{"gitlab.example:5050": "gitlab-ci-token"}},
		"destination":        {cli.Environment{Variables: registry, Destinations: []string{"r.io/a:1", "r.io/b:1"}}, map[string]string{"r.io": "reg", "other.io": "", "index.docker.io": ""}},
		"Docker Hub":         {cli.Environment{Variables: registry, Destinations: []string{"org/a"}}, map[string]string{"index.docker.io": "reg", "r.io": ""}},
		"two registries":     {cli.Environment{Variables: registry, Destinations: []string{"r.io/a", "q.io/a"}, Notice: func(string) {}}, map[string]string{"r.io": "", "q.io": ""}},
		"no destination":     {cli.Environment{Variables: registry}, map[string]string{"r.io": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := cli.Keychain(tt.e)
			if err != nil {
				t.Fatal(err)
			}
			for host, want := range tt.want {
				c, err := k.Find(t.Context(), host+"/x")
				got := ""
				if c != nil {
					got = c.Username
				}
				if err != nil || got != want {
					t.Errorf("%s: got %q from %+v, want %q; %v", host, got, c, want, err)
				}
			}
		})
	}
	if _, err := cli.Keychain(cli.Environment{Helpers: []string{"gcp"}}); err == nil || !strings.Contains(err.Error(), "env, google, ecr, acr, gitlab") {
		t.Error(err)
	}
}
