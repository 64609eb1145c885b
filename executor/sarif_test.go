package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"testing"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
)

func TestSARIF(t *testing.T) {
	file := &graph.SourceFile{Name: "Dockerfile"}
	res := &frontend.LintResult{
		Warnings: []frontend.Warning{
			{Rule: "A", Short: "one", Detail: "about A", URL: "https://x.example/a", Position: graph.Position{File: file, Start: 2, End: 3}},
			{Rule: "B", Short: "two"},
			{Rule: "A", Short: "three", Position: graph.Position{File: file, Start: 9, End: 9}},
		},
		Err: &frontend.Error{File: file, Err: errors.New("broken"), Positions: []graph.Position{{File: file, Start: 4, End: 4}}},
	}
	for _, r := range []*frontend.LintResult{res, {}} {
		var b bytes.Buffer
		if err := writeSARIF(&b, r, "sub/Dockerfile"); err != nil {
			t.Fatal(err)
		}
		checkSARIF(t, b.Bytes(), len(r.Warnings))
	}
}

// checkSARIF holds a report against what the schema of SARIF 2.1.0 requires:
// the properties that must be there, the values that they may have, and that
// indices point at what they name.
func checkSARIF(t *testing.T, raw []byte, warnings int) {
	t.Helper()
	var log struct {
		Schema  *string `json:"$schema"`
		Version string  `json:"version"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Info  string `json:"informationUri"`
					Rules []struct {
						ID      string
						HelpURI *string                 `json:"helpUri"`
						Short   *struct{ Text *string } `json:"shortDescription"`
					}
				}
			}
			Results []struct {
				RuleID    string `json:"ruleId"`
				RuleIndex int    `json:"ruleIndex"`
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					Physical struct {
						Artifact struct{ URI string } `json:"artifactLocation"`
						Region   *struct{ StartLine, EndLine int }
					} `json:"physicalLocation"`
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || log.Schema == nil || len(log.Runs) != 1 {
		t.Fatalf("version %q, %d runs", log.Version, len(log.Runs))
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || run.Results == nil {
		t.Error("a run has a named driver, and results even where there are none")
	}
	seen := map[string]bool{}
	for _, r := range run.Tool.Driver.Rules {
		if r.ID == "" || seen[r.ID] || r.Short != nil && r.Short.Text == nil {
			t.Errorf("rule %+v: ids are there, and once", r)
		}
		seen[r.ID] = true
		if r.HelpURI != nil {
			if u, err := url.Parse(*r.HelpURI); err != nil || !u.IsAbs() {
				t.Errorf("helpUri %q", *r.HelpURI)
			}
		}
	}
	levels := map[string]int{}
	for _, r := range run.Results {
		levels[r.Level]++
		if r.Message.Text == "" || len(r.Locations) == 0 || r.Locations[0].Physical.Artifact.URI != "sub/Dockerfile" {
			t.Errorf("result %+v", r)
		}
		if r.RuleIndex < 0 || r.RuleIndex >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %d is not %s", r.RuleIndex, r.RuleID)
		}
		if g := r.Locations[0].Physical.Region; g != nil && (g.StartLine < 1 || g.EndLine < g.StartLine) {
			t.Errorf("region %+v", g)
		}
	}
	if levels["warning"] != warnings || levels["warning"]+levels["error"] != len(run.Results) {
		t.Errorf("levels %v", levels)
	}
}
