package credentials

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// scope is what a credential is for: a host with its port, and the beginning
// of a repository's path.
type scope struct{ host, path string }

// parseScope reads what config files have for keys: "host", "host:port",
// "host/path", and Docker's addresses, "https://host/v1/".
func parseScope(key string) scope {
	address := false
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(key, scheme); ok {
			key, address = rest, true
		}
	}
	host, path, _ := strings.Cut(strings.TrimRight(key, "/"), "/")
	// Addresses of the API are no paths of repositories; Docker's own key has
	// one, and people write them without the scheme as well.
	if path == "v1" || path == "v2" || address && (strings.HasPrefix(path, "v1/") || strings.HasPrefix(path, "v2/")) {
		path = ""
	}
	return scope{host: canonicalHost(host), path: path}
}

// canonicalHost gives each registry one name: without the port of HTTPS, lower
// case, and one for Docker Hub's many.
func canonicalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return name.DefaultRegistry
	}
	return host
}

// fits tells whether a credential for s is one for the target, and how specific it is.
func (s scope) fits(target scope) (rank int, ok bool) {
	ok = s.host == target.host && (s.path == "" || target.path == s.path || strings.HasPrefix(target.path, s.path+"/"))
	return len(s.path), ok
}

func (s scope) String() string {
	if s.path == "" {
		return s.host
	}
	return s.host + "/" + s.path
}
