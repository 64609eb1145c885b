package environments

import (
	"encoding/json"
	"testing"
)

// diagnosis is what executor doctor prints as data.
type diagnosis struct {
	Findings []struct {
		Name, Error string
		OK          bool
	}
	Chosen *struct{ View, Identity string }
	Advice *struct{ Gives, YAML string }
	Error  string
}

// TestDoctor asks in every container what would be chosen there.
func TestDoctor(t *testing.T) {
	each(t, everywhere, func(t *testing.T, env Environment, r root) {
		c := bed.Container(t, env, r.foreign)
		argv := append([]string{executorIn(r.foreign), "doctor", "--log-format", "json"}, c.place()...)
		run, err := c.Run(t.Context(), argv)
		if err != nil {
			t.Fatal(err)
		}
		var d diagnosis
		if err := json.Unmarshal([]byte(run.Stdout), &d); err != nil {
			t.Fatalf("%v: code %d\n%s\n%s", err, run.Code, run.Stdout, run.Stderr)
		}
		for _, f := range d.Findings {
			t.Logf("%-20s %v %s", f.Name, f.OK, f.Error)
		}
		switch {
		case r.want.Refused():
			if d.Chosen != nil || run.Code != 78 || d.Error == "" {
				t.Errorf("%+v was chosen, code %d, %q; no step can run here", d.Chosen, run.Code, d.Error)
			}
			if d.Advice == nil {
				t.Error("nothing is said that would help")
			}
		case d.Chosen == nil:
			t.Errorf("nothing was chosen, code %d: %s", run.Code, d.Error)
		case d.Chosen.View != r.want.View || d.Chosen.Identity != r.want.Identity || run.Code != 0:
			t.Errorf("%s with %s ids was chosen, code %d; %s with %s is promised", d.Chosen.View, d.Chosen.Identity, run.Code, r.want.View, r.want.Identity)
		}
	})
}
