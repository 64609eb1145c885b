package source

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"
)

// GitRequest asks for the files of one commit of a repository.
type GitRequest struct {
	// Remote is "https://host/path", "http://…", "ssh://…", "git://…" or "user@host:path".
	// What is behind http may be a plain web server.
	Remote string
	// Ref is a branch, a tag, a full name as "refs/pull/1/head" or "pull/1/head",
	// or a commit; empty is the default branch.
	Ref string
	// Subdir is the part of the repository that becomes the root.
	Subdir string
	// Checksum is the beginning of the commit, or of the annotated tag, that
	// Ref must be; empty: anything goes.
	Checksum       string
	KeepGitDir     bool // ignored with a Subdir, as in BuildKit
	SkipSubmodules bool
	// OptionalSubmodules leaves the folder of a submodule empty when it cannot be
	// had for a reason that will not pass, such as missing rights. GitInfo.Missing has them.
	OptionalSubmodules bool
	// FetchByCommit takes the commit Checksum, whatever Ref is by now.
	FetchByCommit bool
	// Depth is how many commits of the history are fetched; 0 is one, a negative
	// number all. What is checked out is the same.
	Depth int
	// CommitTime gives everything the time of the commit instead of Now.
	CommitTime bool
	// AuthToken and AuthHeader are the IDs of secrets, tried with ".<host>"
	// behind them first: a token, or the value of the Authorization header.
	AuthToken, AuthHeader string
	// SSH is the ID of the ssh agent, KnownHosts what known_hosts files say.
	SSH, KnownHosts string

	// Client makes the requests to http and https; nil is a plain one.
	Client *http.Client
	// Secrets gives the values of secrets.
	Secrets Secrets
	// Dial connects to an ssh agent by its ID; ok is false when there is none.
	Dial func(id string) (conn io.ReadWriteCloser, ok bool, err error)
	// Dir is an empty directory of one's own for the repository. It must be
	// there for as long as the table is used.
	Dir string
	// MaxBytes is how much may be fetched; 0 is no limit.
	MaxBytes int64
	// Now is the time of a checkout; zero is the present.
	Now time.Time
}

// parseGit reads "host/path#ref:subdir", which BuildKit writes for all protocols
// alike; git.fullurl has the protocol.
func parseGit(id string, a *attrs) (Request, error) {
	u, fragment, err := parseGitURL("https://" + id)
	if scpStyle.MatchString(id) || strings.Contains(id, "://") {
		u, fragment, err = parseGitURL(id)
	}
	if err != nil {
		return nil, err
	}
	if full := a.text(attrGitFullURL); full != "" {
		if u, err = fullURL(u, full); err != nil {
			return nil, err
		}
	}
	r := &GitRequest{
		Remote:         u.withUser(),
		Checksum:       a.text(attrGitChecksum),
		KeepGitDir:     a.flag(attrGitKeepGitDir),
		SkipSubmodules: a.flag(attrGitSkipSubmodules),
		FetchByCommit:  a.flag(attrGitFetchByCommit),
		CommitTime:     a.one(attrGitMTime, "checkout", "commit") == "commit",
		AuthToken:      a.text(attrGitAuthToken),
		AuthHeader:     a.text(attrGitAuthHeader),
		SSH:            a.text(attrGitSSH),
		KnownHosts:     a.text(attrGitKnownHosts),
	}
	a.ignore(attrGitAdvice) // what git prints
	var sub string
	r.Ref, sub, _ = strings.Cut(fragment, ":")
	r.Subdir = strings.TrimPrefix(path.Join("/", sub), "/")
	if _, err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// fullURL is the address in git.fullurl, which must be that of the identifier:
// what is looked at and what is fetched are one repository.
func fullURL(id gitURL, full string) (gitURL, error) {
	if !strings.Contains(full, "://") && !scpStyle.MatchString(full) {
		full = "https://" + full
	}
	u, _, err := parseGitURL(full)
	if err != nil {
		return gitURL{}, err
	}
	if !u.same(id) {
		return gitURL{}, fmt.Errorf("attribute %s: %s is another repository", attrGitFullURL, u)
	}
	return u, nil
}

// withUser is the address with credentials.
func (u gitURL) withUser() string {
	if u.user == nil || u.scp {
		return u.String()
	}
	bare := u
	bare.user = nil
	return strings.Replace(bare.String(), "://", "://"+u.user.String()+"@", 1)
}

// Validate tells what is wrong with the request, nil if nothing is. Nobody is asked.
func (r *GitRequest) Validate() error {
	_, err := r.check()
	return err
}

// check validates what has meaning before anything is fetched.
func (r *GitRequest) check() (gitURL, error) {
	u, fragment, err := parseGitURL(r.Remote)
	if err != nil {
		return gitURL{}, err
	}
	switch {
	case fragment != "":
		err = fmt.Errorf("repository %s: fragment %q", u, fragment)
	case strings.HasPrefix(r.Ref, "-") || strings.ContainsAny(r.Ref, " \t\r\n\x00:?*[\\^~") || strings.Contains(r.Ref, ".."):
		err = fmt.Errorf("invalid git ref %q", r.Ref)
	case strings.Trim(r.Checksum, "0123456789abcdefABCDEF") != "":
		err = fmt.Errorf("checksum %q: not a hexadecimal commit", r.Checksum)
	case isCommit(r.Ref) && !strings.HasPrefix(r.Ref, r.Checksum):
		err = &ChecksumError{Name: u.String(), Want: r.Checksum, Got: r.Ref}
	case r.FetchByCommit && !isCommit(r.Ref) && !isCommit(r.Checksum):
		err = errors.New("fetch-by-commit: needs a full commit as checksum or ref")
	case len(r.Ref) == 64 && isHex(r.Ref) || len(r.Checksum) == 64:
		err = fmt.Errorf("repository %s: %w", u, errSHA256)
	}
	return u, err
}

// errSHA256 is about repositories with longer hashes: go-git has those of one
// kind, chosen when it is compiled.
var errSHA256 = errors.New("SHA-256 repositories are not supported")

// isCommit tells whether s is the full name of an object.
func isCommit(s string) bool { return len(s) == 40 && isHex(s) }

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
