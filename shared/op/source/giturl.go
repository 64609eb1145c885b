package source

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// gitURL is where a repository is: a URL, or "user@host:path" (scp).
type gitURL struct {
	scheme string // http, https, ssh, git
	user   *url.Userinfo
	host   string // with the port, if any
	path   string
	scp    bool
}

var scpStyle = regexp.MustCompile(`^([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?$`)

// parseGitURL reads an address of a repository, and the fragment behind it.
// Only those schemes that reach another machine by git's own protocols exist
// for us: neither file:// nor helpers such as ext:: do.
func parseGitURL(s string) (u gitURL, fragment string, err error) {
	if !strings.Contains(s, "://") {
		m := scpStyle.FindStringSubmatch(s)
		if m == nil {
			return gitURL{}, "", fmt.Errorf("repository %q: not a URL", s)
		}
		u = gitURL{scheme: "ssh", user: url.User(m[1]), host: m[2], path: m[3], scp: true}
		return u, m[5], u.check()
	}
	p, err := url.Parse(s)
	if err != nil {
		return gitURL{}, "", fmt.Errorf("repository %q: not a URL", bare(s))
	}
	u = gitURL{scheme: p.Scheme, user: p.User, host: p.Host, path: p.Path}
	return u, p.Fragment, u.check()
}

// check refuses what could be taken for an option or a command by anybody on
// the way (CVE-2017-1000117 and its relatives).
func (u gitURL) check() error {
	switch u.scheme {
	case "http", "https", "ssh", "git":
	default:
		return fmt.Errorf("repository %s: scheme %q is not supported", u, u.scheme)
	}
	port := u.address().Port()
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n <= 0 || n > 65535) {
		return fmt.Errorf("repository %s: port %q", u, port)
	}
	switch {
	case u.address().Hostname() == "" || strings.HasPrefix(u.host, "-"):
		return fmt.Errorf("repository %s: host %q", u, u.host)
	case u.user != nil && strings.HasPrefix(u.user.Username(), "-"):
		return fmt.Errorf("repository %s: user %q", u, u.user.Username())
	case strings.Trim(u.path, "/") == "" || strings.HasPrefix(u.path, "-"):
		return fmt.Errorf("repository %s: path %q", u, u.path)
	case strings.ContainsAny(u.host+u.path, "\x00\r\n"):
		return fmt.Errorf("repository %s: control characters in it", u)
	}
	return nil
}

func (u gitURL) address() *url.URL { return &url.URL{Host: u.host} }

// String is the address without credentials. The user of ssh is none.
func (u gitURL) String() string {
	if u.scp {
		return u.user.Username() + "@" + u.host + ":" + u.path
	}
	out := url.URL{Scheme: u.scheme, Host: u.host, Path: u.path}
	if u.scheme == "ssh" && u.user != nil {
		out.User = url.User(u.user.Username())
	}
	return out.String()
}

// endpoint is the address in go-git's words.
func (u gitURL) endpoint() *transport.Endpoint {
	ep := &transport.Endpoint{Protocol: u.scheme, Host: u.address().Hostname(), Path: u.path}
	if strings.Contains(ep.Host, ":") && u.scheme != "ssh" && u.scheme != "git" {
		ep.Host = "[" + ep.Host + "]"
	}
	if _, port, err := net.SplitHostPort(u.host); err == nil {
		ep.Port, _ = strconv.Atoi(port)
	}
	if u.scheme == "http" || u.scheme == "https" {
		// The endpoint's text is parsed as a URL once more.
		ep.Path = (&url.URL{Path: u.path}).EscapedPath()
		ep.User = u.user.Username()
		ep.Password, _ = u.user.Password()
	}
	if u.scheme == "ssh" {
		ep.User = u.user.Username()
	}
	return ep
}

// same tells whether two addresses mean one repository, whatever the protocol.
func (u gitURL) same(o gitURL) bool {
	clean := func(p string) string { return strings.TrimSuffix(path.Join("/", p), ".git") }
	return strings.EqualFold(u.host, o.host) && clean(u.path) == clean(o.path)
}

// submodule is the repository that the URL of a submodule of u means. A
// relative one goes from u, and stays on its host (git-submodule(1), add).
func (u gitURL) submodule(s string) (gitURL, error) {
	if !strings.HasPrefix(s, "./") && !strings.HasPrefix(s, "../") {
		sub, fragment, err := parseGitURL(s)
		if err == nil && fragment != "" {
			err = fmt.Errorf("repository %s: fragment %q", sub, fragment)
		}
		return sub, err
	}
	base, rest := strings.Trim(u.path, "/"), s
	for {
		if tail, ok := strings.CutPrefix(rest, "./"); ok {
			rest = tail
			continue
		}
		tail, ok := strings.CutPrefix(rest, "../")
		if !ok {
			break
		}
		if base == "" {
			return gitURL{}, fmt.Errorf("repository %q: leaves %s", s, u)
		}
		rest = tail
		if base = path.Dir(base); base == "." {
			base = ""
		}
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == ".." {
			return gitURL{}, fmt.Errorf("repository %q: \"..\" within it", s)
		}
	}
	out := u
	out.path = path.Join(base, rest)
	if strings.HasPrefix(u.path, "/") {
		out.path = "/" + out.path
	}
	return out, out.check()
}

// within tells whether credentials for the address scope are for u, too.
func (u gitURL) within(scope gitURL) bool {
	if u.scheme != scope.scheme || !strings.EqualFold(u.host, scope.host) {
		return false
	}
	if u.scheme == "https" && (u.host == "github.com" || u.host == "www.github.com") {
		// One token is for all of GitHub, as in BuildKit and actions/checkout.
		return true
	}
	p := strings.TrimSuffix(scope.path, "/")
	return u.path == p || strings.HasPrefix(u.path, p+"/")
}
