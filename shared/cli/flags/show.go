package flags

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"text/tabwriter"
)

// hidden stands for what is secret.
const hidden = "***"

// secretName is how variables and arguments that hold secrets are called.
var secretName = regexp.MustCompile(`(?i)(pass(word|wd|phrase)?|secret|token|credential|auth(orization)?$|api_?key|access_?key|private_?key|^key$|_key$)`)

// display is a value as it may be shown to anybody: without passwords in URLs and
// without values of arguments that are called like secrets.
func (f *Flag) display(v string) string {
	if f.Secret {
		return hidden
	}
	if k, _, ok := strings.Cut(v, "="); ok && f.many() && f.Name != "secret" && secretName.MatchString(k) {
		return k + "=" + hidden
	}
	return hideURL(v)
}

// hideURL takes user, password and query out of a URL: any may be a token.
func hideURL(v string) string {
	before, rest := "", v
	if i := strings.Index(v, "://"); i > 0 {
		start := strings.LastIndexAny(v[:i], "= ,;") + 1
		before, rest = v[:start], v[start:]
	} else {
		return v
	}
	u, err := url.Parse(rest)
	if err != nil {
		if strings.Contains(rest, "@") || strings.Contains(rest, "?") {
			return before + hidden
		}
		return v
	}
	if u.User == nil && u.RawQuery == "" {
		return v
	}
	if u.User != nil {
		u.User = url.User("HIDDEN")
	}
	if u.RawQuery != "" {
		u.RawQuery = "HIDDEN"
	}
	return before + strings.ReplaceAll(u.String(), "HIDDEN", hidden)
}

// row is a setting as `config` shows it.
type row struct {
	Name   string   `json:"name"`
	Value  string   `json:"value,omitempty"`
	Values []string `json:"values,omitempty"`
	Origin string   `json:"origin"`
}

func (s *Settings) rows() []row {
	rows := []row{}
	for _, x := range s.All {
		r := row{Name: x.Flag.Name, Origin: x.Origin}
		for _, v := range x.Values {
			r.Values = append(r.Values, x.Flag.display(v))
		}
		if !x.Flag.many() {
			r.Value, r.Values = strings.Join(r.Values, ""), nil
		}
		rows = append(rows, r)
	}
	return rows
}

// Text writes each setting with its origin, one value a line. Secrets are hidden.
func (s *Settings) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range s.rows() {
		if r.Values == nil {
			r.Values = []string{r.Value}
		}
		for _, v := range r.Values {
			fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, v, r.Origin)
		}
	}
	return t.Flush()
}

// JSON writes each setting with its origin. Secrets are hidden.
func (s *Settings) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		File     string `json:"file,omitempty"`
		Settings []row  `json:"settings"`
	}{s.File, s.rows()})
}
