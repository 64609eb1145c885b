package environment_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/environment"
	"github.com/strake-build/strake/shared/fakeroot"
	"github.com/strake-build/strake/shared/sandbox"
)

var errNo = errors.New("not allowed")

// choices make a report in which only the named ways work.
func choices(works ...string) *environment.Report {
	r := &environment.Report{UIDs: 1}
	for _, c := range []environment.Choice{
		{View: "overlay", Identity: "real"},
		{View: "bind", Identity: "real"},
		{View: "bind", Identity: "emulated"},
		{View: "inplace", Identity: "real"},
		{View: "inplace", Identity: "emulated"},
		{View: "chroot", Identity: "real"},
	} {
		c.Err = errNo
		for _, w := range works {
			if w == c.View+"/"+c.Identity {
				c.Err = nil
			}
		}
		r.Choices = append(r.Choices, c)
	}
	return r
}

func TestChoose(t *testing.T) {
	all := []string{"overlay/real", "bind/real", "bind/emulated", "inplace/real", "inplace/emulated", "chroot/real"}
	for _, c := range []struct {
		works          []string
		view, identity string
		want           string // or a part of the error
	}{
		{all, "auto", "auto", "overlay with real ids"},
		{all[1:], "auto", "auto", "bind with real ids"},
		{all[2:], "auto", "auto", "bind with emulated ids"},
		{all[3:], "auto", "auto", "inplace with real ids"},
		{all[4:], "auto", "auto", "inplace with emulated ids"},
		{all[5:], "auto", "auto", "chroot with real ids"},
		{nil, "auto", "auto", "cannot be isolated here: not possible here: overlay with real ids: not allowed; bind"},
		{all, "inplace", "auto", "inplace with real ids"},
		{all, "auto", "emulated", "bind with emulated ids"},
		{all, "chroot", "emulated", "there is no such combination"},
		{all[:1], "chroot", "auto", "chroot with real ids: not allowed"},
		{all, "nosuch", "auto", `isolation "nosuch": there are auto, overlay, bind, inplace, chroot`},
		{all, "auto", "nosuch", `identity "nosuch": there are auto, real, emulated`},
	} {
		got, reason, err := choices(c.works...).Choose(c.view, c.identity)
		switch {
		case err != nil && !strings.Contains(err.Error(), c.want), err == nil && (got.String() != c.want || !strings.HasSuffix(reason, c.want+" works here")):
			t.Errorf("%s/%s of %v: got %v, %q, %v; want %s", c.view, c.identity, c.works, got, reason, err, c.want)
		}
	}
}

// TestProbe tries for real, as whoever runs the test.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	reaper, err := sandbox.BecomeReaper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := environment.Probe(t.Context(), environment.Options{Dir: dir, Reaper: reaper, Record: fakeroot.NewRecord(), Foreign: errNo})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, c := range r.Choices {
		if c.View == "inplace" && !errors.Is(c.Err, errNo) {
			t.Errorf("in place, in somebody's machine: %v", c.Err)
		}
	}
	if os.Geteuid() != 0 || sandbox.NeedsUserNamespace() {
		t.Skip("what works is known for root only")
	}
	if c, reason, err := r.Choose("auto", "auto"); err != nil || c.String() != "overlay with real ids" {
		t.Errorf("chose %v, %s, %v", c, reason, err)
	}
}

func TestProbeRefused(t *testing.T) {
	if r, err := environment.Probe(t.Context(), environment.Options{Dir: "/proc", Record: fakeroot.NewRecord()}); err == nil {
		t.Errorf("probed in /proc: %+v", r)
	}
}

func TestDiagnosis(t *testing.T) {
	r := choices("inplace/emulated")
	r.Findings = []environment.Finding{{Name: "user ids", Note: "user 1000 of 1"}, {Name: "overlay", Err: errors.Join(errNo, errNo)}}
	var b strings.Builder
	if err := r.Diagnose("auto", "auto").Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"user ids  yes  user 1000 of 1\n", "overlay   no   not allowed; not allowed\n", "\nRUN: inplace with emulated ids\n", "--network=none",
		"\nBetter: ", "    securityContext:\n      seccompProfile:\n        type: Unconfined\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
	var data struct {
		Findings []struct {
			Name string
			OK   bool
		}
		Chosen *struct {
			View, Identity string
			Lost           []string
		}
		Advice *environment.Advice
		Error  string
	}
	j, err := json.Marshal(r.Diagnose("auto", "auto"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(j, &data); err != nil || len(data.Findings) != 2 || data.Findings[1].OK || data.Chosen.View != "inplace" || len(data.Chosen.Lost) < 3 || data.Advice == nil {
		t.Errorf("got %s, %v", j, err)
	}
	j, err = json.Marshal(choices().Diagnose("auto", "auto"))
	if err != nil || !strings.Contains(string(j), `"chosen":null,"error":"RUN steps cannot be isolated`) {
		t.Errorf("got %s, %v", j, err)
	}
}
