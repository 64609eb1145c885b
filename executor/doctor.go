package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	shared "github.com/strake-build/strake/shared/cli"
	"github.com/strake-build/strake/shared/sandbox"
)

// doctor tells what this container allows.
func (c *command) doctor(x *cli.Context) error {
	p := &parser{x: x}
	isolation, dir := p.isolation(), p.dir()
	if len(p.errs) > 0 {
		return &shared.UsageError{Err: p.errs[0]}
	}
	ctx := c.log.WithContext(x.Context)
	if done, err := c.enterNamespace(ctx, isolation.View); done || err != nil {
		return err
	}
	if err := sandbox.Conceal(); err != nil {
		return err
	}
	reaper, err := sandbox.BecomeReaper()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &build.EnvironmentError{Err: fmt.Errorf("make the builder's directory (another can be given with --kaniko-dir): %w", err)}
	}
	report, err := isolation.Probe(ctx, dir, reaper)
	if err != nil {
		return &build.EnvironmentError{Err: err}
	}
	d := report.Diagnose(isolation.View, isolation.Identity)
	if c.json {
		err = json.NewEncoder(c.stdout).Encode(d)
	} else {
		err = d.Write(c.stdout)
	}
	if err != nil {
		return err
	}
	if d.Err != nil {
		return exitStatus(shared.ExitConfig)
	}
	return nil
}
