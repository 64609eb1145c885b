package cli

import (
	"io"
	"strings"

	"github.com/strake-build/strake/shared/cli/flags"
)

// ShowCommand shows the settings of a subcommand where that is wanted, as in
// "config [--format=json] push --destination …". It tells whether it was.
func ShowCommand(p *flags.Program, args, environ []string, stdout io.Writer) (bool, error) {
	if len(args) == 0 || args[0] != "config" {
		return false, nil
	}
	rest, asJSON := args[1:], false
	for len(rest) > 0 && strings.HasPrefix(rest[0], "--format") {
		format, given := strings.CutPrefix(rest[0], "--format=")
		if rest = rest[1:]; !given && len(rest) > 0 {
			format, rest = rest[0], rest[1:]
		}
		asJSON = format == "json"
	}
	if len(rest) == 0 || rest[0] == "help" || !p.Has(rest[0]) {
		return false, nil
	}
	s, err := p.Resolve(rest, environ)
	switch {
	case err != nil:
		return true, &UsageError{err}
	case asJSON:
		return true, s.JSON(stdout)
	}
	return true, s.Text(stdout)
}
