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
	"github.com/strake-build/strake/shared/version"
)

func main() {
	os.Exit(Main(context.Background(), os.Args, os.Stdout, os.Stderr))
}

// Main runs the command and returns its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, stop := shared.WithSignals(ctx)
	defer stop()
	c := &command{stdout: stdout, stderr: stderr, log: zerolog.New(stderr)}
	err := c.app().RunContext(ctx, args)
	if err == nil {
		return 0
	}
	if inner, ok := errors.AsType[exitStatus](err); ok {
		return int(inner) // it has said what there is to say
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	code, class := shared.Exit(err)
	c.report(err, class, code)
	return code
}

// command is one run of the program.
type command struct {
	stdout, stderr io.Writer
	log            zerolog.Logger
	progress       *shared.Progress
	json           bool // the log is JSON
}

func (c *command) app() *cli.App {
	return &cli.App{
		Name:                      "executor",
		Usage:                     "build a container image from a Dockerfile, without a daemon and without privilege",
		Description:               exitCodes,
		Flags:                     buildFlags(),
		Action:                    c.build,
		OnUsageError:              c.usage,
		Writer:                    c.stdout,
		ErrWriter:                 c.stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands: []*cli.Command{{
			Name: "version", Usage: "print the version",
			OnUsageError: c.usage,
			Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
			Action: func(x *cli.Context) error {
				return version.Print(c.stdout, x.Bool("json"))
			},
		}, c.checkCommand(), c.doctorCommand()},
	}
}

// usage is told of flags that cannot be read. How the log should look is not
// known then either.
func (c *command) usage(_ *cli.Context, err error, _ bool) error {
	return &shared.UsageError{Err: flagError(err)}
}

const exitCodes = `Exit codes: 0 done; a failing RUN's own code; 64 usage; 65 Dockerfile; 66 context or image
not found; 69 registry unreachable; 70 internal; 73 no space; 75 temporary; 76 integrity;
77 denied; 78 environment; 128 and the number of a signal.

stdout carries the result only, one REPOSITORY@DIGEST per destination; all else goes to stderr.`

// report says what went wrong, with the lines of the Dockerfile and the step's
// last output where they help.
func (c *command) report(err error, class string, code int) {
	if _, ok := errors.AsType[*shared.UsageError](err); ok && !c.json {
		fmt.Fprintf(c.stderr, "executor: %v\nexecutor --help lists the flags.\n", err)
		return
	}
	if c.progress != nil {
		c.progress.Explain(err)
	}
	c.log.Error().Str("class", class).Int("code", code).Msg(err.Error())
}
