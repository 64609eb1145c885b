package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// CI is the system that runs the job and reads the log. The zero value is none.
type CI struct {
	// Kind is one of CIKinds, but auto.
	Kind string
	// GitHubOutput is the file that results go to, or empty.
	GitHubOutput string
}

// CIKinds are the systems that --ci names.
func CIKinds() []string { return []string{"auto", "none", "github", "gitlab", "azure"} }

// DetectCI finds out which system runs the job.
func DetectCI(kind string, getenv func(string) string) CI {
	c := CI{Kind: kind}
	if kind == "auto" || kind == "" {
		switch {
		case getenv("GITHUB_ACTIONS") == "true":
			c.Kind = "github"
		case getenv("GITLAB_CI") == "true":
			c.Kind = "gitlab"
		case strings.EqualFold(getenv("TF_BUILD"), "true"):
			c.Kind = "azure"
		default:
			c.Kind = "none"
		}
	}
	if c.Kind == "github" {
		c.GitHubOutput = getenv("GITHUB_OUTPUT")
	}
	return c
}

// commands are what the systems obey wherever it stands in a line, and what is
// written in its place where a stranger wrote it. GitHub's :: counts at the
// beginning of a line only, where no stranger's text ever stands.
func (c CI) commands() []string {
	switch c.Kind {
	case "github", "azure":
		return []string{"##[", "# #[", "##vso[", "# #vso["}
	case "gitlab":
		return []string{"section_start:", "section-start:", "section_end:", "section-end:"}
	}
	return nil
}

// Neutral takes the meaning out of what would be a command to the system. All
// that comes from a Dockerfile or a step goes through it.
func (c CI) Neutral(line []byte) []byte {
	pairs := c.commands()
	for i := 0; i+1 < len(pairs); i += 2 {
		line = bytes.ReplaceAll(line, []byte(pairs[i]), []byte(pairs[i+1]))
	}
	return line
}

// NeutralText is Neutral for a text.
func (c CI) NeutralText(s string) string { return string(c.Neutral([]byte(s))) }

// Open begins a part of the log that can be folded, and Close ends it. Name is
// of letters, digits and underscores.
func (c CI) Open(w io.Writer, name, title string, now time.Time) {
	switch c.Kind {
	case "github":
		fmt.Fprintf(w, "::group::%s\n", escape(title))
	case "azure":
		fmt.Fprintf(w, "##[group]%s\n", title)
	case "gitlab":
		fmt.Fprintf(w, "\x1b[0Ksection_start:%d:%s\r\x1b[0K%s\n", now.Unix(), name, title)
	}
}

// Close ends what Open began.
func (c CI) Close(w io.Writer, name string, now time.Time) {
	switch c.Kind {
	case "github":
		fmt.Fprintln(w, "::endgroup::")
	case "azure":
		fmt.Fprintln(w, "##[endgroup]")
	case "gitlab":
		fmt.Fprintf(w, "\x1b[0Ksection_end:%d:%s\r\x1b[0K\n", now.Unix(), name)
	}
}

// Annotation is a remark that the system shows beside a line of a file.
type Annotation struct {
	Level string // "error" or "warning"
	File  string
	Line  int // 0 for none
	Title string
	Text  string
}

// Annotate writes an annotation.
func (c CI) Annotate(w io.Writer, a Annotation) {
	a.Text, a.File = c.NeutralText(a.Text), c.NeutralText(a.File)
	switch c.Kind {
	case "github":
		props := ""
		for _, p := range []struct{ key, value string }{{"file", a.File}, {"line", number(a.Line)}, {"title", a.Title}} {
			if p.value != "" {
				props += "," + p.key + "=" + property(p.value)
			}
		}
		fmt.Fprintf(w, "::%s %s::%s\n", a.Level, strings.TrimPrefix(props, ","), escape(a.Text))
	case "azure":
		props := "type=" + a.Level + ";"
		if a.File != "" {
			props += "sourcepath=" + azure(a.File) + ";"
		}
		if a.Line > 0 {
			props += "linenumber=" + number(a.Line) + ";"
		}
		fmt.Fprintf(w, "##vso[task.logissue %s]%s\n", props, azure(a.Text))
	}
}

// Output hands the digest to later steps of the job.
func (c CI) Output(w io.Writer, digest string) error {
	switch {
	case c.Kind == "azure":
		fmt.Fprintf(w, "##vso[task.setvariable variable=digest;isOutput=true]%s\n", azure(digest))
	case c.GitHubOutput != "":
		f, err := os.OpenFile(c.GitHubOutput, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644) //nolint:gosec // as the runner makes it
		if err != nil {
			return fmt.Errorf("write GITHUB_OUTPUT: %w", err)
		}
		_, err = fmt.Fprintf(f, "digest=%s\n", digest)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	}
	return nil
}

func number(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// escape is how GitHub wants a command's text.
func escape(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// property is how GitHub wants a command's property.
func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(escape(s))
}

// azure is how Azure DevOps wants a command's text and properties.
func azure(s string) string {
	return strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A", ";", "%3B", "]", "%5D").Replace(s)
}
