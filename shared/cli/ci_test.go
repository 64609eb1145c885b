package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/strake-build/strake/shared/cli"
)

func TestDetectCI(t *testing.T) {
	for _, tt := range []struct {
		kind string
		env  map[string]string
		want string
	}{
		{"auto", nil, "none"},
		{"auto", map[string]string{"GITHUB_ACTIONS": "true"}, "github"},
		{"auto", map[string]string{"GITLAB_CI": "true"}, "gitlab"},
		{"auto", map[string]string{"TF_BUILD": "True"}, "azure"},
		{"none", map[string]string{"GITHUB_ACTIONS": "true"}, "none"},
		{"azure", nil, "azure"},
	} {
		if got := cli.DetectCI(tt.kind, func(k string) string { return tt.env[k] }); got.Kind != tt.want {
			t.Errorf("%s %v: %s, want %s", tt.kind, tt.env, got.Kind, tt.want)
		}
	}
}

// Texts of a Dockerfile can neither end a command nor add a property to it.
func TestAnnotate(t *testing.T) {
	a := cli.Annotation{Level: "error", File: "a,b:c", Line: 3, Title: "x", Text: "50%\n::set-output name=x::y;]"}
	for kind, want := range map[string]string{
		"none":   "",
		"gitlab": "",
		"github": "::error file=a%2Cb%3Ac,line=3,title=x::50%25%0A::set-output name=x::y;]\n",
		"azure":  "##vso[task.logissue type=error;sourcepath=a,b:c;linenumber=3;]50%AZP25%0A::set-output name=x::y%3B%5D\n",
	} {
		var b bytes.Buffer
		(cli.CI{Kind: kind}).Annotate(&b, a)
		if b.String() != want {
			t.Errorf("%s: got  %q\nwant %q", kind, b.String(), want)
		}
	}
}

func TestGroups(t *testing.T) {
	at := time.Unix(17, 0)
	for kind, want := range map[string]string{
		"none":   "",
		"github": "::group::T\n::endgroup::\n",
		"azure":  "##[group]T\n##[endgroup]\n",
		"gitlab": "\x1b[0Ksection_start:17:n\r\x1b[0KT\n\x1b[0Ksection_end:17:n\r\x1b[0K\n",
	} {
		var b bytes.Buffer
		c := cli.CI{Kind: kind}
		c.Open(&b, "n", "T", at)
		c.Close(&b, "n", at)
		if b.String() != want {
			t.Errorf("%s: got %q, want %q", kind, b.String(), want)
		}
	}
}

func TestNeutral(t *testing.T) {
	for _, tt := range []struct{ kind, in, want string }{
		{"none", "##vso[x]", "##vso[x]"},
		{"azure", "a ##vso[x] ##[error]", "a # #vso[x] # #[error]"},
		{"azure", "###vso[x]", "## #vso[x]"},
		{"github", "##[add-mask]x", "# #[add-mask]x"},
		{"gitlab", "section_start:1:x", "section-start:1:x"},
	} {
		if got := string((cli.CI{Kind: tt.kind}).Neutral([]byte(tt.in))); got != tt.want {
			t.Errorf("%s %s: got %q", tt.kind, tt.in, got)
		}
	}
}

func TestTerminationMessage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := cli.TerminationMessage(path, "x"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the file was made")
	}
	if err := os.WriteFile(path, []byte("something longer that stood there"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cli.TerminationMessage(path, "short"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "short" {
		t.Errorf("got %q", b)
	}
	for shift := range 4 {
		if err := cli.TerminationMessage(path, strings.Repeat("x", shift)+strings.Repeat("ü€", 2000)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) > 4096 || len(b) < 4088 || !utf8.Valid(b) || !strings.HasSuffix(string(b), "…") {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := cli.TerminationMessage(link, "elsewhere"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); string(b) == "elsewhere" {
		t.Error("a link was followed")
	}
}
