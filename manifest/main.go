// Command manifest makes one multi-arch index of images that were built apart, checks, pushes, signs and attests it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"maps"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	settings "github.com/strake-build/strake/shared/cli/flags"
)

func main() {
	os.Exit(Main(context.Background(), os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Main runs the command and returns its exit code.
func Main(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := shared.WithSignals(ctx)
	defer stop()
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, log: shared.Log{Logger: zerolog.New(stderr)}}
	err := c.main(ctx, args[1:], environ)
	if err == nil {
		return 0
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	code, class := exit(err)
	c.log.Report(stderr, "manifest", err, class, code)
	return code
}

// command is one run of the program.
type command struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	settings       *settings.Settings
	log            shared.Log
}

// main finds out what is wanted, and does it.
func (c *command) main(ctx context.Context, args, environ []string) error {
	p, actions := c.makeProgram()
	if shown, err := shared.ShowCommand(p, args, environ, c.stdout); shown {
		return err
	}
	var err error
	c.settings, err = p.Resolve(args, environ)
	log, logErr := shared.OpenLog(c.stderr, c.settings)
	if logErr == nil {
		c.log = log
	}
	// cosign's packages have things to say, past every interface of theirs.
	stdlog.SetFlags(0)
	stdlog.SetOutput(debugLog{c.log.Logger})
	switch {
	case c.settings.Help():
		_, err := io.WriteString(c.stdout, p.Help(c.settings.Command))
		return err
	case err != nil || logErr != nil:
		return &shared.UsageError{Err: errors.Join(err, logErr)}
	}
	maps.Copy(actions, shared.Actions(p, c.settings, c.stdout, c.notices))
	actions["version"] = c.printVersion
	actions[""] = func(x *cli.Context) error {
		if x.NArg() > 0 {
			return usageError("there is no command %q; manifest --help lists them", x.Args().First())
		}
		_, err := io.WriteString(c.stdout, p.Help(""))
		return err
	}
	return shared.App(p, actions, c.stdout, c.stderr).RunContext(ctx, append([]string{p.Name}, c.settings.CommandLine()...))
}

// debugLog logs what libraries write to the standard logger.
type debugLog struct{ log zerolog.Logger }

// Write implements io.Writer.
func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

// notices says what counts less than something else.
func (c *command) notices() {
	for _, n := range c.settings.Notices() {
		c.log.Warn().Msg(n)
	}
}

// run makes an action of a function that wants the log open and the right number of arguments.
func (c *command) run(least, most int, f func(*cli.Context) error) cli.ActionFunc {
	return func(x *cli.Context) error {
		if n := x.NArg(); n < least || most >= 0 && n > most {
			return usageError("%s takes %s; it got %d", x.Command.Name, x.Command.ArgsUsage, n)
		}
		c.notices()
		x.Context = c.log.WithContext(x.Context)
		return f(x)
	}
}

// usage is told of flags that cannot be read.
func (c *command) usage(_ *cli.Context, err error, _ bool) error {
	return &shared.UsageError{Err: err}
}

func usageError(format string, args ...any) error {
	return &shared.UsageError{Err: fmt.Errorf(format, args...)}
}
