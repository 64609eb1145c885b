package registry

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// hub is Docker Hub as references name it, hubHost as it is reached.
const (
	hub     = "docker.io"
	hubHost = name.DefaultRegistry
)

// place is a repository at a registry. A host of Docker Hub is always hubHost.
type place struct{ host, path string }

func (p place) String() string { return familiarHost(p.host) + "/" + p.path }

func familiarHost(host string) string {
	if host == hubHost {
		return hub
	}
	return host
}

// reference is a parsed image reference. With a digest, the tag is only remembered.
type reference struct {
	place
	tag, digest string
}

func (r reference) String() string {
	s := r.place.String()
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest
	}
	return s
}

// id is what to ask the registry for.
func (r reference) id() string {
	if r.digest != "" {
		return r.digest
	}
	return r.tag
}

// parseReference reads "[host/]path[:tag][@digest]", with Docker's defaults:
// docker.io, library/ and latest.
func parseReference(s string) (reference, error) {
	if err := looksWrong(s); err != nil {
		return reference{}, fmt.Errorf("reference %q: %w", s, err)
	}
	n, err := name.ParseReference(s, name.WeakValidation)
	if err != nil {
		return reference{}, fmt.Errorf("reference %q: %w", s, err)
	}
	repo := n.Context()
	r := reference{place: place{repo.RegistryStr(), repo.RepositoryStr()}}
	d, ok := n.(name.Digest)
	if !ok {
		r.tag = n.Identifier()
		return r, nil
	}
	r.digest = d.DigestStr()
	before, _, _ := strings.Cut(s, "@")
	if t, err := name.NewTag(before, name.WeakValidation, name.WithDefaultTag("")); err == nil {
		r.tag = t.TagStr()
	}
	return r, nil
}

// looksWrong names the usual slips better than a character set does.
func looksWrong(s string) error {
	path, _, _ := strings.Cut(s, "@")
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path = path[:i]
	}
	host, rest, ok := strings.Cut(path, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		rest = path
	}
	switch {
	case s == "":
		return fmt.Errorf("it is empty")
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("it has blanks around it")
	case strings.Contains(s, "://"):
		return fmt.Errorf("it is written without a scheme: %q", s[strings.Index(s, "://")+3:])
	case rest != strings.ToLower(rest):
		return fmt.Errorf("the name of a repository is lower case: %q", strings.ToLower(rest))
	case strings.Contains(rest, "//") || strings.HasPrefix(rest, "/") || strings.HasSuffix(rest, "/"):
		return fmt.Errorf("it has an empty part between slashes")
	case rest == "":
		return fmt.Errorf("it names no repository")
	}
	return nil
}

// parseHost reads a registry's host, as options name it.
func parseHost(s string) (string, error) {
	switch {
	case strings.Contains(s, "://"):
		return "", fmt.Errorf("registry %q: write the host without a scheme", s)
	case strings.Contains(s, "/"):
		return "", fmt.Errorf("registry %q: write the host without a path", s)
	}
	r, err := name.NewRegistry(s, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("registry %q: %w", s, err)
	}
	return r.RegistryStr(), nil
}

// hostname takes the port off.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Trim(host, "[]")
}

// isLoopback tells whether host is this machine. Docker allows plain HTTP
// there; localhost and all below it never leave the machine (RFC 6761, 6.3).
func isLoopback(host string) bool {
	h := hostname(host)
	if h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(h)
	return err == nil && ip.IsLoopback()
}

// isPrivate tells whether host is an address (not a name) that only means
// something near this machine, such as a cloud's metadata service.
func isPrivate(host string) bool {
	ip, err := netip.ParseAddr(hostname(host))
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() ||
		ip.IsInterfaceLocalMulticast() || ip.IsUnspecified()
}
