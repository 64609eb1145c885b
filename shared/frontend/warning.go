package frontend

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/strake-build/strake/shared/graph"
)

// SyntaxRule is the name of our own warning about a "# syntax=" line that asks
// for another language than Docker's.
const SyntaxRule = "SyntaxNotUsed"

// Warning is something that a Dockerfile should not do.
type Warning struct {
	// Rule is the linter's name for it, "FromAsCasing".
	Rule string
	// Short says what is wrong here, Detail what the rule is about.
	Short, Detail string
	// URL tells more, or is "".
	URL string
	// Position has no lines (0) when the warning is about no line.
	Position graph.Position
}

// String gives "Dockerfile:3: FromAsCasing: 'as' and 'FROM' keywords' casing do not match".
func (w Warning) String() string {
	s := w.Rule + ": " + w.Short
	if w.Position.Start > 0 {
		s = w.Position.String() + ": " + s
	}
	return s
}

// warnSyntax says so when the Dockerfile, or the build argument over it, asks
// for a frontend that is not Docker's.
func (s *session) warnSyntax(arg string) {
	ref, _, at, _ := parser.DetectSyntax(s.src.Data)
	if arg != "" {
		ref, at = arg, nil
	}
	ref, _, _ = strings.Cut(strings.TrimSpace(ref), " ")
	if ref == "" || isDockerSyntax(ref) {
		return
	}
	s.lint(SyntaxRule, "The built-in Dockerfile frontend reads every Dockerfile.", "",
		"syntax "+ref+" is not used", at)
}

// isDockerSyntax also knows copies of Docker's frontend in other registries.
func isDockerSyntax(ref string) bool {
	name, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	name = strings.TrimSuffix(name, "-upstream")
	return strings.HasSuffix("/"+name, "/docker/dockerfile")
}
