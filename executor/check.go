package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/cli/progress"
)

func (c *command) check(x *cli.Context) error {
	req, err := request(x)
	if err != nil {
		return err
	}
	client, err := c.client(x)
	if err != nil {
		return err
	}
	c.notices()
	from, err := c.bases(x, client)
	if err != nil {
		return err
	}
	b := &build.Builder{Registry: from.client, Images: from.images, Progress: progress.Quiet{}, Now: time.Now}
	res, err := b.Check(c.log.WithContext(x.Context), req)
	if err != nil {
		return err
	}
	switch x.String("format") {
	case "json":
		fmt.Fprintf(c.stdout, "%s\n", res.JSON)
	case "sarif":
		if err := writeSARIF(c.stdout, res, checkedFile(req)); err != nil {
			return err
		}
	default:
		fmt.Fprint(c.stdout, res.Text)
	}
	if res.Err != nil {
		return res.Err
	}
	return nil
}

// checkedFile is the Dockerfile as a report names it: relative to here where it lies below.
func checkedFile(req build.Request) string {
	path := req.Dockerfile
	if _, err := os.Stat(path); (err != nil || path == "Dockerfile") && req.Context != "" {
		path = filepath.Join(req.Context, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return filepath.ToSlash(path)
	}
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, abs); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	return filepath.ToSlash(abs)
}
