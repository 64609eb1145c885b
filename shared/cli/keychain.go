package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/strake-build/strake/shared/credentials"
	"github.com/strake-build/strake/shared/credentials/cloud"
)

// Environment is what a command's credentials are found by.
type Environment struct {
	Variables []string // as os.Environ gives them
	// Helpers are those of --credential-helpers: env, google, ecr, acr, gitlab.
	// nil means all of them, an empty list none; config files always count. Each
	// may be several, separated by commas.
	Helpers []string
	// Files are config files in place of the usual ones and of DOCKER_AUTH_CONFIG.
	Files []string
	// Destinations are what the command pushes to. REGISTRY_USERNAME and
	// REGISTRY_PASSWORD, which name no registry, are for theirs.
	Destinations []string
	// Proxy is for the clouds; nil means the environment's.
	Proxy func(*http.Request) (*url.URL, error)
	// Notice is told, in a line, what was passed over; see credentials.Sources.
	Notice func(line string)
}

// CredentialFiles are the config files that Keychain reads, whether they are
// there or not.
func CredentialFiles(environ []string) []string { return variables(environ).configFiles() }

// helpers are what --credential-helpers may name, in the order of kaniko.
func helpers() []string {
	return []string{"env", cloud.Google, cloud.Amazon, cloud.Azure, "gitlab"}
}

// Keychain finds credentials in the environment: DOCKER_AUTH_CONFIG, the config
// files of docker and podman, then the helpers. It reads the files; nothing is
// run or asked yet. An error is the user's to mend.
func Keychain(e Environment) (*credentials.Keychain, error) {
	chosen := e.Helpers
	if chosen == nil {
		chosen = helpers()
	}
	chosen = slices.DeleteFunc(strings.Split(strings.Join(chosen, ","), ","), func(s string) bool { return s == "" })
	for _, h := range chosen {
		if !slices.Contains(helpers(), h) {
			return nil, &UsageError{fmt.Errorf("--credential-helpers: %q is none of %s", h, strings.Join(helpers(), ", "))}
		}
	}
	if e.Proxy == nil {
		e.Proxy = http.ProxyFromEnvironment
	}
	v := variables(e.Variables)
	clouds := cloud.All(cloud.Options{Proxy: e.Proxy})
	s := credentials.Sources{
		Inline: v["DOCKER_AUTH_CONFIG"], Files: v.configFiles(), Notice: e.Notice,
		Programs: credentials.Programs{Path: filepath.SplitList(v["PATH"]), Environ: e.Variables, Builtin: cloud.Builtin(clouds)},
	}
	if e.Files != nil {
		s.Inline, s.Files = "", e.Files
	}
	for _, h := range helpers() {
		switch {
		case !slices.Contains(chosen, h):
		case h == "env":
			s.Variables = e.Variables
			s.Logins = append(s.Logins, v.destination(e)...)
		case h == "gitlab":
			s.Logins = append(s.Logins, v.gitLab()...)
		default:
			s.Providers = append(s.Providers, clouds[h])
		}
	}
	return credentials.New(s)
}

// values are environment variables by name.
type values map[string]string

func variables(environ []string) values {
	m := make(values, len(environ))
	for _, v := range environ {
		if k, val, ok := strings.Cut(v, "="); ok {
			m[k] = val
		}
	}
	return m
}

// configFiles are the files of docker, of kaniko's image, and of podman and
// its relatives (containers-auth.json(5)).
func (v values) configFiles() []string {
	var files []string
	add := func(dir string, rest ...string) {
		f := filepath.Join(append([]string{dir}, rest...)...)
		if dir != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	if v["DOCKER_CONFIG"] != "" {
		add(v["DOCKER_CONFIG"], "config.json")
	} else {
		add(v["HOME"], ".docker", "config.json")
	}
	kaniko := v["KANIKO_DIR"]
	if kaniko == "" {
		kaniko = "/kaniko"
	}
	add(kaniko, ".docker", "config.json")
	if v["REGISTRY_AUTH_FILE"] != "" {
		add(v["REGISTRY_AUTH_FILE"])
		return files
	}
	add(v["XDG_RUNTIME_DIR"], "containers", "auth.json")
	if v["XDG_CONFIG_HOME"] != "" {
		add(v["XDG_CONFIG_HOME"], "containers", "auth.json")
	} else {
		add(v["HOME"], ".config", "containers", "auth.json")
	}
	return files
}

// gitLab are the logins that GitLab gives every job (docs.gitlab.com,
// "Predefined CI/CD variables").
func (v values) gitLab() []credentials.Login {
	var ls []credentials.Login
	add := func(host, user, password, origin string) {
		if host != "" && user != "" && password != "" {
			ls = append(ls, credentials.Login{Host: host, User: user, Password: password, Origin: origin})
		}
	}
	add(v["CI_REGISTRY"], v["CI_REGISTRY_USER"], v["CI_REGISTRY_PASSWORD"], "CI_REGISTRY_PASSWORD")
	if len(ls) == 0 {
		add(v["CI_REGISTRY"], "gitlab-ci-token", v["CI_JOB_TOKEN"], "CI_JOB_TOKEN")
	}
	add(v["CI_DEPENDENCY_PROXY_SERVER"], v["CI_DEPENDENCY_PROXY_USER"], v["CI_DEPENDENCY_PROXY_PASSWORD"], "CI_DEPENDENCY_PROXY_PASSWORD")
	return ls
}

// destination is the login of REGISTRY_USERNAME. With destinations in several
// registries it is for none: a password would go to who is not meant.
func (v values) destination(e Environment) []credentials.Login {
	user, password := v["REGISTRY_USERNAME"], v["REGISTRY_PASSWORD"]
	if user == "" || password == "" {
		return nil
	}
	var hosts []string
	for _, d := range e.Destinations {
		if ref, err := name.ParseReference(d, name.WeakValidation); err == nil {
			hosts = append(hosts, ref.Context().RegistryStr())
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	if len(hosts) > 1 && e.Notice != nil {
		e.Notice(fmt.Sprintf("REGISTRY_USERNAME is not used: the destinations are in several registries (%s); set KANIKO_<HOST>_USER for each", strings.Join(hosts, ", ")))
	}
	if len(hosts) != 1 {
		return nil
	}
	return []credentials.Login{{Host: hosts[0], User: user, Password: password, Origin: "REGISTRY_PASSWORD"}}
}
