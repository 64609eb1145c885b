package framed_test

import (
	"testing"

	"github.com/strake-build/strake/shared/framed"
)

func TestFrames(t *testing.T) {
	seen := make(map[string]string)
	for name, h := range map[string]*framed.Hash{
		"nothing":              framed.New("a"),
		"another domain":       framed.New("b"),
		"empty value":          framed.New("a").String(""),
		"ab c":                 framed.New("a").String("ab").String("c"),
		"a bc":                 framed.New("a").String("a").String("bc"),
		"list and value":       framed.New("a").Strings("x").String("y"),
		"list of two":          framed.New("a").Strings("x", "y"),
		"list of none and two": framed.New("a").Strings().String("x").String("y"),
		"number":               framed.New("a").Int(300),
		"domain that eats":     framed.New("a\x00"),
		"length in the value":  framed.New("a").String("\x02ab"),
	} {
		if other, ok := seen[h.Sum()]; ok {
			t.Errorf("%s is %s", name, other)
		}
		seen[h.Sum()] = name
	}
	if a, b := framed.New("a").Strings("x", "y").Sum(), framed.New("a").Strings("x", "y").Sum(); a != b {
		t.Error("equal values differ")
	}
}
