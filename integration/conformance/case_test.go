package conformance

import (
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func TestParse(t *testing.T) {
	c, err := parse("x", txtar.Parse([]byte("What it proves.\n\narg: A=b\narg: C=d\ntarget: t\n-- Dockerfile --\nFROM scratch\n")))
	if err != nil {
		t.Fatal(err)
	}
	if c.About != "What it proves." || c.One("target") != "t" || !slices.Equal(c.Keys["arg"], []string{"A=b", "C=d"}) {
		t.Errorf("case is %+v", c)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"-- Dockerfile --\n", "About.\n", "About.\n\nnonsense: x\n-- Dockerfile --\n"} {
		if _, err := parse("x", txtar.Parse([]byte(text))); err == nil {
			t.Errorf("case %q was taken", text)
		}
	}
}
