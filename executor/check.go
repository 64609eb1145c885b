package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	shared "github.com/strake-build/strake/shared/cli"
)

// checkCommand lints a Dockerfile. It takes the flags of a build, as what a
// Dockerfile means depends on them.
func (c *command) checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "check a Dockerfile without building it",
		Description: "Warnings alone end with exit code 0, unless the Dockerfile says # check=error=true;\n" +
			"a Dockerfile that cannot be built ends with 65.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "format", Value: "text", Usage: "text or json (BuildKit's)"},
		}, buildFlags()...),
		Action:       c.check,
		OnUsageError: c.usage,
	}
}

func (c *command) check(x *cli.Context) error {
	if err := c.openLog(x); err != nil {
		return err
	}
	format := x.String("format")
	if format != "text" && format != "json" {
		return &shared.UsageError{Err: fmt.Errorf("--format %s: not one of text, json", format)}
	}
	req, err := request(x)
	if err != nil {
		return err
	}
	client, err := c.client(x)
	if err != nil {
		return err
	}
	b := &build.Builder{Registry: client, Progress: shared.Quiet{}, Now: time.Now}
	res, err := b.Check(c.log.WithContext(x.Context), req)
	if err != nil {
		return err
	}
	if format == "json" {
		fmt.Fprintf(c.stdout, "%s\n", res.JSON)
	} else {
		fmt.Fprint(c.stdout, res.Text)
	}
	if res.Err != nil {
		return res.Err
	}
	return nil
}
