package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/logging"
	"github.com/strake-build/strake/shared/version"
)

// GroupCommand is the group of flags that belong to one subcommand.
const GroupCommand = "Flags of this command"

// Commands are the subcommands that every program has. Config takes the flags
// whose settings it shows.
func Commands(config []flags.Flag) []flags.Command {
	return []flags.Command{
		{
			Name: "config", Doc: "show every setting, with where it comes from",
			Long: `Takes the flags and does nothing else with them. Passwords and values of arguments that are called like secrets are hidden.`,
			Flags: append([]flags.Flag{
				{Name: "format", Default: "text", Words: []string{"text", "json"}, Group: GroupCommand, Local: true, Doc: "text or json"},
			}, config...),
		},
		{Name: "completion", Args: "bash|zsh|fish", Doc: "print a script that completes the command line in a shell"},
		{Name: "man", Doc: "print the manual page"},
		{
			Name: "version", Doc: "print the version",
			Flags: []flags.Flag{{Name: "json", Kind: flags.Bool, Group: GroupCommand, Local: true, Doc: "as JSON"}},
		},
		{Name: "help", Args: "[COMMAND]", Doc: "print what can be typed"},
	}
}

// Actions are what Commands do, by name. Notices is called before settings are shown.
func Actions(p *flags.Program, s *flags.Settings, stdout io.Writer, notices func()) map[string]cli.ActionFunc {
	return map[string]cli.ActionFunc{
		"config": func(x *cli.Context) error {
			if x.NArg() > 0 {
				return &UsageError{fmt.Errorf("argument %q: no arguments are taken, only flags", x.Args().First())}
			}
			notices()
			if x.String("format") == "json" {
				return s.JSON(stdout)
			}
			return s.Text(stdout)
		},
		"completion": func(x *cli.Context) error {
			if x.NArg() != 1 {
				return &UsageError{fmt.Errorf("%s completion: want one of bash, zsh, fish", p.Name)}
			}
			if err := p.Completion(stdout, x.Args().First()); err != nil {
				return &UsageError{fmt.Errorf("%s completion %w", p.Name, err)}
			}
			return nil
		},
		"man":     func(*cli.Context) error { return p.Man(stdout, version.Get().Version) },
		"version": func(x *cli.Context) error { return version.Print(stdout, x.Bool("json")) },
		"help": func(x *cli.Context) error {
			_, err := io.WriteString(stdout, p.Help(strings.Join(x.Args().Slice(), " ")))
			return err
		},
	}
}

// App is the program as package cli runs it, by the command line that settings
// come to. An action's name is its subcommand's; the program's own is "".
func App(p *flags.Program, actions map[string]cli.ActionFunc, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:                      p.Name,
		Flags:                     flags.CLI(p.Flags),
		Action:                    actions[""],
		Writer:                    stdout,
		ErrWriter:                 stderr,
		HideVersion:               true,
		HideHelp:                  true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
	}
	for _, s := range p.Commands {
		app.Commands = append(app.Commands, &cli.Command{
			Name: s.Name, Flags: flags.CLI(s.Flags), ArgsUsage: s.Args, Action: actions[s.Name], HideHelp: true,
		})
	}
	return app
}

// Log is where a program says what it does.
type Log struct {
	zerolog.Logger
	Format logging.Format
	CI     CI
}

// JSON tells whether the log is read by programs.
func (l *Log) JSON() bool { return l.Format == logging.JSON }

// OpenLog makes the log of the settings. Where they are not known, for a mistake
// in the command line, it is the usual one.
func OpenLog(w io.Writer, s *flags.Settings) (Log, error) {
	format := logging.Format(cmp.Or(s.Get("log-format"), string(logging.Color)))
	if format == logging.Color && os.Getenv("NO_COLOR") != "" {
		format = logging.Text
	}
	log, err := logging.New(w, logging.Options{
		Level: cmp.Or(s.Get("verbosity"), "info"), Format: format, Timestamp: s.Get("log-timestamp") == "true",
	})
	return Log{log, format, DetectCI(s.Get("ci"), os.Getenv)}, err
}

// Report tells what a program ended with: a mistake on the command line to
// people as a plain line, all else in the log, and to the CI system.
func (l *Log) Report(w io.Writer, program string, err error, class string, code int) {
	text := l.CI.NeutralText(err.Error())
	if !l.JSON() && l.GetLevel() <= zerolog.ErrorLevel {
		l.CI.Annotate(w, Annotation{Level: "error", Title: program + ": " + class, Text: text})
	}
	if As[*UsageError](err) && !l.JSON() {
		fmt.Fprintf(w, "%s: %s\n%s --help lists the flags.\n", program, text, program)
		return
	}
	l.Error().Str("class", class).Int("code", code).Msg(text)
}
