package buildcontext

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/strake-build/strake/shared/op/source"
)

// gitAddress is where a repository is and what of it is wanted.
type gitAddress struct {
	remote     string // as source.GitRequest has it, with credentials
	shown      string // without them
	password   bool   // there are some
	ref        string
	subdir     string
	commit     string // or the beginning of one
	byCommit   bool   // the commit is wanted even when the reference has moved on
	submodules *bool
	keepGitDir bool
	commitTime bool
}

var scpStyle = regexp.MustCompile(`^[a-zA-Z0-9_.-]+@[a-zA-Z0-9.-]+:`)

func isSCP(ref string) bool { return scpStyle.MatchString(ref) }

// IsGit tells whether an address is one of a repository, as BuildKit decides
// it: by the protocol, or by a path that ends in .git.
func IsGit(ref string) bool {
	scheme, rest, _ := strings.Cut(ref, "://")
	switch scheme {
	case "git", "ssh", "git+https", "git+http", "git+ssh":
		return true
	case "http", "https":
		rest, _, _ = strings.Cut(rest, "#")
		rest, _, _ = strings.Cut(rest, "?")
		return strings.HasSuffix(rest, ".git")
	}
	return isSCP(ref)
}

// parseGitAddress reads an address with what stands behind its "?" and "#".
// method is the protocol of git://.
func parseGitAddress(ref, method string) (gitAddress, error) {
	address, fragment, _ := strings.Cut(ref, "#")
	address, query, _ := strings.Cut(address, "?")
	a := gitAddress{remote: strings.TrimPrefix(address, "git+")}
	if rest, ok := strings.CutPrefix(a.remote, "git://"); ok {
		switch method {
		case "", "https":
			a.remote = "https://" + rest
		case "http":
			a.remote = "http://" + rest
		case "git":
		default:
			return a, fmt.Errorf("GIT_PULL_METHOD=%s: not one of https, http, git", method)
		}
	}
	a.shown = source.Bare(a.remote)
	a.password = a.shown != a.remote && strings.HasPrefix(a.remote, "http")
	if isSCP(a.remote) {
		a.shown = a.remote
	}
	if err := a.fromFragment(fragment); err != nil {
		return a, err
	}
	return a, a.fromQuery(query)
}

// fromFragment reads BuildKit's #REF:SUBDIR and kaniko's #REF#COMMIT.
func (a *gitAddress) fromFragment(f string) error {
	f, commit, _ := strings.Cut(f, "#")
	a.ref, a.subdir, _ = strings.Cut(f, ":")
	a.subdir = cleanSub(a.subdir)
	if commit == "" {
		return nil
	}
	if len(commit) != 40 || strings.Trim(commit, "0123456789abcdef") != "" {
		return fmt.Errorf("commit %q: want its 40 hexadecimal digits", commit)
	}
	a.commit, a.byCommit = commit, true
	return nil
}

// fromQuery reads the form of Docker's documentation, "Git repositories, URL queries".
func (a *gitAddress) fromQuery(s string) error {
	q, err := url.ParseQuery(s)
	if err != nil {
		return errors.New("its query cannot be read")
	}
	for key, values := range q {
		v := values[len(values)-1]
		switch key {
		case "ref":
			err = set(&a.ref, v, key)
		case "branch":
			err = set(&a.ref, "refs/heads/"+v, key)
		case "tag":
			err = set(&a.ref, "refs/tags/"+v, key)
		case "subdir":
			err = set(&a.subdir, cleanSub(v), key)
		case "checksum", "commit":
			err = set(&a.commit, v, key)
		case "submodules":
			on := isTrue(v)
			a.submodules = &on
		case "keep-git-dir":
			a.keepGitDir = isTrue(v)
		case "fetch-by-commit":
			a.byCommit = isTrue(v)
		case "mtime":
			a.commitTime = v == "commit"
			if v != "commit" && v != "checkout" {
				err = fmt.Errorf("?mtime=%s: not one of checkout, commit", v)
			}
		default:
			err = fmt.Errorf("?%s=: not known; ref, branch, tag, commit, fetch-by-commit, subdir, submodules, keep-git-dir and mtime are", key)
		}
		if err != nil {
			return err
		}
	}
	// Without a reference there is nothing that the commit could disagree with.
	a.byCommit = a.byCommit || a.ref == "" && len(a.commit) == 40
	return nil
}

// isTrue reads a switch, which is on when it only stands there.
func isTrue(v string) bool { return v == "" || v == "1" || strings.EqualFold(v, "true") }

func set(field *string, v, key string) error {
	if *field != "" && *field != v {
		return fmt.Errorf("?%s=%s: the address says %s, too", key, v, *field)
	}
	*field = v
	return nil
}
