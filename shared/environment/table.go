package environment

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Diagnosis is a report with what follows from it: what `executor doctor` says.
type Diagnosis struct {
	*Report
	// Chosen is nil where no RUN can work; Err says why then.
	Chosen *Choice
	Reason string
	Err    error
}

// Diagnose chooses, as Choose does, and keeps the error.
func (r *Report) Diagnose(view, identity string) Diagnosis {
	d := Diagnosis{Report: r}
	d.Chosen, d.Reason, d.Err = r.Choose(view, identity)
	return d
}

// Write writes the diagnosis as a table for people.
func (d Diagnosis) Write(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range d.Findings {
		verdict, text := "yes", f.Note
		if f.Err != nil {
			verdict, text = "no", oneLine(f.Err)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, verdict, text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case d.Chosen == nil:
		fmt.Fprintf(&b, "\nRUN: not possible here; Dockerfiles without RUN can be built\n  %s\n", oneLine(d.Err))
	default:
		fmt.Fprintf(&b, "\nRUN: %s\n", d.Chosen)
		for _, l := range d.Chosen.Lost() {
			fmt.Fprintf(&b, "  - %s\n", l)
		}
	}
	if a := d.Advise(d.Chosen); a != nil {
		fmt.Fprintf(&b, "\nBetter: %s, with\n\n", a.Gives)
		for l := range strings.Lines(a.YAML) {
			b.WriteString("    " + l)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// MarshalJSON gives the diagnosis as data.
func (d Diagnosis) MarshalJSON() ([]byte, error) {
	type finding struct {
		Name  string `json:"name"`
		OK    bool   `json:"ok"`
		Note  string `json:"note,omitempty"`
		Error string `json:"error,omitempty"`
	}
	type choice struct {
		View     string   `json:"view"`
		Identity string   `json:"identity"`
		Lost     []string `json:"lost,omitempty"`
	}
	out := struct {
		Findings []finding `json:"findings"`
		Chosen   *choice   `json:"chosen"`
		Error    string    `json:"error,omitempty"`
		Advice   *Advice   `json:"advice,omitempty"`
	}{Advice: d.Advise(d.Chosen)}
	for _, f := range d.Findings {
		v := finding{Name: f.Name, OK: f.Err == nil, Note: f.Note}
		if f.Err != nil {
			v.Note, v.Error = "", oneLine(f.Err)
		}
		out.Findings = append(out.Findings, v)
	}
	if d.Chosen != nil {
		out.Chosen = &choice{d.Chosen.View, d.Chosen.Identity, d.Chosen.Lost()}
	}
	if d.Err != nil {
		out.Error = oneLine(d.Err)
	}
	return json.Marshal(out)
}
