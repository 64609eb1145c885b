// Command manifest makes one multi-arch index of images that were built apart, checks, pushes, signs and attests it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/logging"
)

func main() {
	os.Exit(Main(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// Main runs the command and returns its exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := shared.WithSignals(ctx)
	defer stop()
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, log: zerolog.New(stderr)}
	app := c.app()
	err := app.RunContext(ctx, interleaved(app, args))
	if err == nil {
		return 0
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
	log            zerolog.Logger
	json           bool // the log is JSON
}

func (c *command) app() *cli.App {
	return &cli.App{
		Name:                      "manifest",
		Usage:                     "make one multi-arch index of images that were built apart; check, push, sign and attest it",
		Description:               exitCodes,
		Flags:                     globalFlags(),
		OnUsageError:              c.usage,
		Writer:                    c.stdout,
		ErrWriter:                 c.stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		Action: func(x *cli.Context) error {
			if x.NArg() == 0 {
				return cli.ShowAppHelp(x)
			}
			return usageError("there is no command %q; manifest --help lists them", x.Args().First())
		},
		Commands: []*cli.Command{
			c.createCommand(), c.pushCommand(), c.inspectCommand(),
			c.signCommand(), c.verifyCommand(), c.attestCommand(), c.verifyAttestationCommand(), c.generateCommand(), c.importCommand(),
			c.addCommand(), c.removeCommand(), c.annotateCommand(), c.copyCommand(),
			{
				Name: "version", Usage: "print the version", OnUsageError: c.usage,
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
				Action: c.printVersion,
			},
		},
	}
}

// run makes an action of a function that wants the log open and the right number of arguments.
func (c *command) run(least, most int, f func(*cli.Context) error) cli.ActionFunc {
	return func(x *cli.Context) error {
		if err := c.openLog(x); err != nil {
			return err
		}
		if n := x.NArg(); n < least || most >= 0 && n > most {
			return usageError("%s takes %s; it got %d", x.Command.FullName(), x.Command.ArgsUsage, n)
		}
		x.Context = c.log.WithContext(x.Context)
		return f(x)
	}
}

func (c *command) openLog(x *cli.Context) error {
	format := logging.Format(text(x, "log-format"))
	if format == logging.Color && os.Getenv("NO_COLOR") != "" {
		format = logging.Text
	}
	var err error
	c.log, err = logging.New(c.stderr, logging.Options{Level: text(x, "verbosity"), Format: format, Timestamp: yes(x, "log-timestamp")})
	if err != nil {
		return &shared.UsageError{Err: err}
	}
	c.json = format == logging.JSON
	// cosign's packages have things to say, past every interface of theirs.
	stdlog.SetFlags(0)
	stdlog.SetOutput(debugLog{c.log})
	return nil
}

// debugLog logs what libraries write to the standard logger.
type debugLog struct{ log zerolog.Logger }

// Write implements io.Writer.
func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

// usage is told of flags that cannot be read.
func (c *command) usage(_ *cli.Context, err error, _ bool) error {
	return &shared.UsageError{Err: err}
}

func usageError(format string, args ...any) error {
	return &shared.UsageError{Err: fmt.Errorf(format, args...)}
}

const exitCodes = `Exit codes: 0 done; 10 no signature, 11 no such tag, 12 no signature that fits, 13 no certificate
(verify, verify-attestation); 64 usage; 65 a check failed; 66 not found; 69 registry unreachable;
70 internal; 73 no space; 75 temporary; 76 integrity; 77 denied, or not signed as required;
78 environment; 128 and the number of a signal.

stdout carries the result only, one REPOSITORY@DIGEST per repository; all else goes to stderr.`

func (c *command) report(err error, class string, code int) {
	if _, ok := errors.AsType[*shared.UsageError](err); ok && !c.json {
		fmt.Fprintf(c.stderr, "manifest: %v\nmanifest --help and manifest COMMAND --help list the flags.\n", err)
		return
	}
	c.log.Error().Str("class", class).Int("code", code).Msg(err.Error())
}
