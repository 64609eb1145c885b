package main

import (
	"encoding/json"
	"io"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/version"
)

// The parts of SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format")
// that code scanning reads.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string     `json:"id"`
		ShortDescription *sarifText `json:"shortDescription,omitempty"`
		HelpURI          string     `json:"helpUri,omitempty"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
		EndLine   int `json:"endLine"`
	}
)

// errorRule is the rule of what cannot be built at all.
const errorRule = "DockerfileError"

// sarif collects results and the rules that they name.
type sarif struct {
	run   sarifRun
	rules map[string]int
	file  string
}

// writeSARIF writes what the linter found. Paths are relative to where the
// command runs, so that code scanning finds the file in the repository.
func writeSARIF(w io.Writer, res *frontend.LintResult, file string) error {
	s := &sarif{rules: map[string]int{}, file: file}
	s.run.Tool.Driver = sarifDriver{
		Name: "strake", Version: version.Get().Version, InformationURI: "https://docs.docker.com/reference/build-checks/", Rules: []sarifRule{},
	}
	s.run.Results = []sarifResult{}
	for _, x := range res.Warnings {
		s.add("warning", sarifRule{ID: x.Rule, ShortDescription: text(x.Detail), HelpURI: x.URL}, x.Short, x.Position.Start, x.Position.End)
	}
	if e := res.Err; e != nil {
		start, end := 0, 0
		if n := len(e.Positions); n > 0 {
			start, end = e.Positions[n-1].Start, e.Positions[n-1].End
		}
		s.add("error", sarifRule{ID: errorRule, ShortDescription: text("The Dockerfile cannot be built.")}, e.Err.Error(), start, end)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{s.run},
	})
}

func text(s string) *sarifText {
	if s == "" {
		return nil
	}
	return &sarifText{s}
}

func (s *sarif) add(level string, rule sarifRule, message string, start, end int) {
	index, ok := s.rules[rule.ID]
	if !ok {
		index = len(s.run.Tool.Driver.Rules)
		s.rules[rule.ID] = index
		s.run.Tool.Driver.Rules = append(s.run.Tool.Driver.Rules, rule)
	}
	at := sarifLocation{sarifPhysical{Artifact: sarifArtifact{s.file}}}
	if start > 0 {
		at.Physical.Region = &sarifRegion{start, max(start, end)}
	}
	s.run.Results = append(s.run.Results, sarifResult{rule.ID, index, level, sarifText{message}, []sarifLocation{at}})
}
