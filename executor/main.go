// Command executor builds a container image from a Dockerfile inside an ordinary container and pushes or saves it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/cli/flags"
	"github.com/strake-build/strake/shared/cli/progress"
	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/logging"
)

func main() {
	os.Exit(Main(context.Background(), os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Main runs the command and returns its exit code.
func Main(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := shared.WithSignals(ctx)
	defer stop()
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, log: zerolog.New(stderr), program: program()}
	c.progress = progress.New(stderr, c.log, logging.Text)
	err := c.run(ctx, args[1:], environ)
	if err == nil {
		return 0
	}
	if inner, ok := errors.AsType[exitStatus](err); ok {
		return int(inner) // it has said what there is to say
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	code, class := exit(err)
	c.report(err, class, code)
	return code
}

// command is one run of the program.
type command struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	program        *flags.Program
	settings       *flags.Settings
	log            zerolog.Logger
	progress       *progress.Progress
	ci             shared.CI
	json           bool   // the log is JSON
	dockerfile     string // as reports name it
}

// run finds out what is wanted, and does it.
func (c *command) run(ctx context.Context, args, environ []string) error {
	if shown, err := shared.ShowCommand(c.program, args, environ, c.stdout); shown {
		return err
	}
	var err error
	c.settings, err = c.program.Resolve(args, environ)
	if logErr := c.openLog(); err == nil {
		err = logErr
	}
	switch {
	case c.settings.Help():
		_, err := io.WriteString(c.stdout, c.program.Help(c.settings.Command))
		return err
	case err != nil:
		return &shared.UsageError{Err: err}
	}
	return c.app().RunContext(ctx, append([]string{c.program.Name}, c.settings.CommandLine()...))
}

func (c *command) app() *cli.App { return shared.App(c.program, c.actions(), c.stdout, c.stderr) }

// openLog makes the logger and the progress of the settings.
func (c *command) openLog() error {
	log, err := shared.OpenLog(c.stderr, c.settings)
	if err != nil {
		return err
	}
	c.log, c.json, c.ci = log.Logger, log.JSON(), log.CI
	c.progress = progress.New(c.stderr, c.log, log.Format)
	c.progress.CI = c.ci
	return nil
}

// report says what went wrong, with the lines of the Dockerfile and the step's
// last output where they help, to people, to the CI system and to Kubernetes.
func (c *command) report(err error, class string, code int) {
	place, placed := progress.Where(err)
	if path := c.settings.Get("termination-log"); path != "" {
		if terr := shared.TerminationMessage(path, err.Error()+"\n"+place.Excerpt()); terr != nil {
			c.log.Debug().Err(terr).Msg("no termination message was written")
		}
	}
	if c.annotates(zerolog.ErrorLevel) {
		a := shared.Annotation{Level: "error", Title: "executor: " + class, Text: err.Error()}
		if placed {
			a.File, a.Line = c.dockerfile, place.Line
		}
		c.ci.Annotate(c.stderr, a)
	}
	if _, ok := errors.AsType[*shared.UsageError](err); ok && !c.json {
		fmt.Fprintf(c.stderr, "executor: %v\nexecutor --help lists the flags.\n", err)
		return
	}
	c.progress.Explain(err)
	e := c.log.Error().Str("class", class).Int("code", code)
	if c.json && placed {
		e = e.Str("step", string(c.ci.Neutral([]byte(place.Step)))).Int("line", place.Line).
			Str("excerpt", string(c.ci.Neutral([]byte(place.Excerpt()))))
	}
	e.Msg(string(c.ci.Neutral([]byte(err.Error()))))
}

// warn shows a build check's warning, in the log and beside the line.
func (c *command) warn(w frontend.Warning) {
	c.progress.Lint(w)
	if c.annotates(zerolog.WarnLevel) {
		c.ci.Annotate(c.stderr, shared.Annotation{Level: "warning", File: c.dockerfile, Line: w.Position.Start, Title: w.Rule, Text: w.Short})
	}
}

// annotates tells whether the CI system reads lines of ours of this level.
func (c *command) annotates(l zerolog.Level) bool { return !c.json && c.log.GetLevel() <= l }
