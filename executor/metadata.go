package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/build"
	"github.com/strake-build/strake/shared/cli/progress"
	"github.com/strake-build/strake/shared/frontend"
)

// truth reads a variable of buildx's: anything that is not false is true.
func truth(s string) bool {
	b, err := strconv.ParseBool(s)
	return s != "" && (b || err != nil)
}

// buildxWarning is a warning as buildx writes it: texts are bytes there, which
// JSON has in base64.
type buildxWarning struct {
	Level      int           `json:"level"`
	Short      []byte        `json:"short"`
	Detail     [][]byte      `json:"detail,omitempty"`
	URL        string        `json:"url,omitempty"`
	SourceInfo *buildxSource `json:"sourceInfo,omitempty"`
	Range      []buildxRange `json:"range,omitempty"`
}

type buildxSource struct {
	Filename string `json:"filename"`
	Data     []byte `json:"data"`
	Language string `json:"language"`
}

type buildxRange struct {
	Start buildxPosition `json:"start"`
	End   buildxPosition `json:"end"`
}

type buildxPosition struct {
	Line int `json:"line"`
}

// metadata is what the metadata file has besides the image: buildx's keys by
// their names, and ours.
func metadata(times []progress.StepTime, warnings []frontend.Warning, withWarnings bool) map[string]any {
	m := map[string]any{"strake.steps": times}
	if !withWarnings || len(warnings) == 0 {
		return m
	}
	var list []buildxWarning
	for _, w := range warnings {
		x := buildxWarning{Level: 1, Short: []byte(w.Rule + ": " + w.Short), Detail: [][]byte{[]byte(w.Detail)}, URL: w.URL}
		if f := w.Position.File; f != nil {
			x.SourceInfo = &buildxSource{f.Name, f.Data, "Dockerfile"}
		}
		if w.Position.Start > 0 {
			x.Range = []buildxRange{{buildxPosition{w.Position.Start}, buildxPosition{w.Position.End}}}
		}
		list = append(list, x)
	}
	m["buildx.build.warnings"] = list
	return m
}

// plan prints what a build would do.
func (c *command) plan(ctx context.Context, x *cli.Context, req build.Request) error {
	client, err := c.client(x)
	if err != nil {
		return err
	}
	from, err := c.bases(x, client)
	if err != nil {
		return err
	}
	b := &build.Builder{Registry: from.client, Images: from.images, Progress: progress.Quiet{}, Warn: c.warn, Now: time.Now, Offline: x.Bool("offline")}
	plan, err := b.Plan(ctx, req)
	if err != nil {
		return err
	}
	c.notices()
	if c.json {
		return json.NewEncoder(c.stdout).Encode(plan)
	}
	_, err = fmt.Fprint(c.stdout, plan)
	return err
}
