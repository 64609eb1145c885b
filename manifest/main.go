// Command manifest makes one multi-arch index of per-architecture digests. So far it only tells its version.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/version"
)

func main() { os.Exit(Main(os.Args, os.Stdout, os.Stderr)) }

// usage is the exit code for a wrong command line (sysexits.h).
const usage = 64

// Main runs the command and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name: "manifest", HideVersion: true, Writer: stdout, ErrWriter: stderr,
		Usage:          "make one multi-arch index of per-architecture digests",
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: []*cli.Command{{
			Name: "version", Usage: "print the version",
			Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
			Action: func(x *cli.Context) error { return version.Print(stdout, x.Bool("json")) },
		}},
		Action: func(x *cli.Context) error {
			return fmt.Errorf("this release knows the version command only; see %s --help", x.App.Name)
		},
	}
	if err := app.Run(args); err != nil {
		fmt.Fprintf(stderr, "manifest: %v\n", err)
		return usage
	}
	return 0
}
