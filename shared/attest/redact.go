package attest

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hidden stands where a secret was.
const hidden = "***"

// secretName knows names that call a thing a secret: the words of BuildKit's check
// SecretsUsedInArgOrEnv, some of them also within a word, as in NPMTOKEN.
var secretName = regexp.MustCompile(`(?i)(?:_|^)(?:auth|key|pass|pword)(?:_|$)|apikey|api_?key|accesskey|privatekey|authorization$|credential|password|passwd|passphrase|secret|token`)

// publicName knows those of them that are none.
var publicName = regexp.MustCompile(`(?i)(?:_|^)(?:public|file|version)(?:_|$)`)

// IsSecret tells whether a variable of that name is one that nobody should read.
func IsSecret(name string) bool { return secretName.MatchString(name) && !publicName.MatchString(name) }

// Redactor takes secrets out of texts. The zero Redactor knows none, and still
// takes the credentials out of addresses.
type Redactor struct{ values *strings.Replacer }

// shortest is how long a value is that can be told from an ordinary word.
const shortest = 4

// Redact makes a Redactor of variables: it knows the values of those whose names
// say that they are secrets, and of the others those that are addresses with
// credentials.
func Redact(variables map[string]string) Redactor {
	told := make(map[string]string)
	for name, v := range variables {
		if clean := (Redactor{}).Text(v); clean != v {
			told[v] = clean
		}
		if IsSecret(name) && len(v) >= shortest {
			told[v] = hidden
		}
	}
	if len(told) == 0 {
		return Redactor{}
	}
	// The longest first: one may be the beginning of another.
	values := slices.SortedFunc(maps.Keys(told), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		pairs = append(pairs, v, told[v])
	}
	return Redactor{strings.NewReplacer(pairs...)}
}

// address is an address in a text, up to what cannot be part of one.
var address = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>|\\^` + "`" + `{}]+`)

// Text returns s without secrets, and marks where they were.
func (r Redactor) Text(s string) string { return address.ReplaceAllStringFunc(r.Values(s), shown) }

// shown is an address in a text. What is a shell's variable there is left to the shell.
func shown(raw string) string {
	before, query, ok := strings.Cut(raw, "?")
	if strings.Contains(before, "@") && !strings.Contains(before, "$") {
		before = Address(before)
	}
	switch {
	case !ok:
		return before
	case strings.Contains(query, "$"):
		return before + "?" + query
	}
	query, fragment, tail := strings.Cut(query, "#")
	before += "?" + hideQuery(query)
	if tail {
		before += "#" + fragment
	}
	return before
}

// ofGit are the parameters that say what to take of a repository, as BuildKit's git
// addresses have them.
var ofGit = map[string]bool{
	"ref": true, "tag": true, "branch": true, "commit": true, "checksum": true, "subdir": true,
	"submodules": true, "keep-git-dir": true, "fetch-by-commit": true, "mtime": true,
}

// hideQuery leaves of a query what is git's; all else may be a signature or a token.
func hideQuery(query string) string {
	parameters := strings.Split(query, "&")
	for _, p := range parameters {
		if name, _, _ := strings.Cut(p, "="); !ofGit[name] {
			return hidden
		}
	}
	return query
}

// Instruction returns a line of a history, or the name of a step, without secrets.
// Arguments stand there with their values, and what ADD takes from the web with its
// address; what else a Dockerfile says stays as it is.
func (r Redactor) Instruction(s string) string {
	if strings.HasPrefix(s, "ADD ") || strings.Contains(s, "] ADD ") {
		return r.Text(s)
	}
	return r.Values(s)
}

// Values returns s without the values of secrets, addresses left as they are.
func (r Redactor) Values(s string) string {
	if r.values == nil {
		return s
	}
	return r.values.Replace(s)
}

// Variables returns what may be told of variables: not those that are secrets, and
// of the others no credentials.
func (r Redactor) Variables(all map[string]string) map[string]string {
	out := make(map[string]string)
	for k, v := range all {
		if !IsSecret(k) {
			out[k] = r.Text(v)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// Address returns a URL without user, password and query: signed links have
// their signature there. What is no URL, as git's user@host:path, loses all before
// an "@" and behind a "?". Package URLs stay.
func Address(raw string) string {
	if strings.HasPrefix(raw, "pkg:") {
		return raw
	}
	if u, err := url.Parse(raw); err == nil && u.Opaque == "" {
		u.User, u.RawQuery, u.ForceQuery = nil, "", false
		return u.String()
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		scheme, rest = "", raw
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		rest = rest[i+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	if ok {
		return scheme + "://" + rest
	}
	return rest
}
