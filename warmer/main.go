// Command warmer fills and tends a directory of base images that builds share.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/frontend"
)

func main() {
	os.Exit(Main(context.Background(), os.Args, os.Environ(), os.Stdout, os.Stderr))
}

// Main runs the command and returns its exit code.
func Main(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	ctx, stop := shared.WithSignals(ctx)
	defer stop()
	c := &command{stdout: stdout, stderr: stderr, log: shared.Log{Logger: zerolog.New(stderr)}, program: program()}
	err := c.run(ctx, args[1:], environ)
	if err == nil {
		return 0
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if inner, ok := err.(exitStatus); ok { //nolint:errorlint // made here, never wrapped
		return int(inner)
	}
	code, class := shared.Exit(err, shared.Classes{Late: []shared.Class{
		{Code: shared.ExitDockerfile, Name: "dockerfile", Match: shared.As[*frontend.Error]},
	}})
	c.log.Report(stderr, "warmer", err, class, code)
	return code
}

// command is one run of the program.
type command struct {
	stdout, stderr io.Writer
	program        *flags.Program
	settings       *flags.Settings
	log            shared.Log
}

// run finds out what is wanted, and does it.
func (c *command) run(ctx context.Context, args, environ []string) error {
	if shown, err := shared.ShowCommand(c.program, args, environ, c.stdout); shown {
		return err
	}
	var err error
	c.settings, err = c.program.Resolve(args, environ)
	log, logErr := shared.OpenLog(c.stderr, c.settings)
	if logErr == nil {
		c.log = log
		zerolog.DurationFieldUnit = time.Millisecond
	}
	switch {
	case c.settings.Help():
		_, err := io.WriteString(c.stdout, c.program.Help(c.settings.Command))
		return err
	case err != nil || logErr != nil:
		return &shared.UsageError{Err: errors.Join(err, logErr)}
	}
	app := shared.App(c.program, c.actions(), c.stdout, c.stderr)
	return app.RunContext(ctx, append([]string{c.program.Name}, c.settings.CommandLine()...))
}

// actions are what is done, by subcommand.
func (c *command) actions() map[string]cli.ActionFunc {
	all := shared.Actions(c.program, c.settings, c.stdout, c.notices)
	maps.Copy(all, map[string]cli.ActionFunc{
		"": c.warm, "ls": c.noted(c.list), "verify": c.noted(c.verify), "gc": c.noted(c.collect),
		"export": c.noted(c.export), "import": c.importTar, "lock": c.noted(c.lock),
	})
	return all
}

// noted says first what is taken and does nothing, and what counts less than
// something else.
func (c *command) noted(f cli.ActionFunc) cli.ActionFunc {
	return func(x *cli.Context) error {
		c.notices()
		return f(x)
	}
}

func (c *command) notices() {
	for _, n := range c.settings.Notices() {
		c.log.Warn().Msg(n)
	}
}

// exitStatus is the code of a command that has said what there is to say.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
