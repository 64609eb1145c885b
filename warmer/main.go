// Command warmer fills and tends a directory of base images that builds share.
package main

import (
	"context"
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
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if inner, ok := err.(exitStatus); ok { //nolint:errorlint // made here, never wrapped
		return int(inner)
	}
	code, class := shared.Exit(err)
	if code == shared.ExitUsage && !c.json {
		fmt.Fprintf(stderr, "warmer: %v\nwarmer --help lists the flags.\n", err)
		return code
	}
	c.log.Error().Str("class", class).Int("code", code).Msg(err.Error())
	return code
}

// command is one run of the program.
type command struct {
	stdout, stderr io.Writer
	log            zerolog.Logger
	json           bool // the log is JSON
}

func (c *command) app() *cli.App {
	return &cli.App{
		Name:                      "warmer",
		Usage:                     "fill and tend a directory of base images that builds share",
		Description:               description,
		Flags:                     join(warmFlags(), storeFlags(), registryFlags(), logFlags()),
		Action:                    c.warm,
		OnUsageError:              usage,
		Writer:                    c.stdout,
		ErrWriter:                 c.stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands: []*cli.Command{
			{
				Name: "version", Usage: "print the version", OnUsageError: usage,
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
				Action: func(x *cli.Context) error { return version.Print(c.stdout, x.Bool("json")) },
			},
			{
				Name: "ls", Usage: "list the images in the directory", OnUsageError: usage,
				Flags:  join(storeFlags(), []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}}, logFlags()),
				Action: c.list,
			},
			{
				Name: "verify", Usage: "compare everything in the directory with its digests", OnUsageError: usage,
				Flags:  join(storeFlags(), []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}}, logFlags()),
				Action: c.verify,
			},
			{
				Name: "gc", Usage: "remove what is not used any more", OnUsageError: usage,
				Flags:  join(storeFlags(), gcFlags(), logFlags()),
				Action: c.collect,
			},
			{
				Name: "export", Usage: "write images into one tar, for a place without a network", ArgsUsage: "[IMAGE…]", OnUsageError: usage,
				Flags:  join(storeFlags(), []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "-", Usage: "the tar; - is stdout"}}, logFlags()),
				Action: c.export,
			},
			{
				Name: "import", Usage: "put the images of such a tar into the directory", ArgsUsage: "[TAR]", OnUsageError: usage,
				Flags:  join(storeFlags(), unpackedFlags(), []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "names become what the tar says, even if they are newer here"}}, logFlags()),
				Action: c.importTar,
			},
			{
				Name: "lock", Usage: "write down what the base images of Dockerfiles are, for executor --lock", OnUsageError: usage,
				Flags:  join(imageFlags(), lockFlags(), registryFlags(), logFlags()),
				Action: c.lock,
			},
		},
	}
}

func usage(_ *cli.Context, err error, _ bool) error { return &shared.UsageError{Err: err} }

func join(groups ...[]cli.Flag) (all []cli.Flag) {
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// exitStatus is the code of a command that has said what there is to say.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

const description = `Images are named by --image, or found in Dockerfiles: those of FROM, COPY --from and
RUN --mount of every stage, or of --target. stdout has a line for each image that is
there, REFERENCE and DIGEST; all else goes to stderr.

Exit codes: 0 done; 64 usage; 65 Dockerfile; 66 not found; 69 registry unreachable;
70 internal; 73 no space; 76 integrity; 77 denied; 78 environment; 128 and the number
of a signal. Where several images failed, the first one's counts.`
