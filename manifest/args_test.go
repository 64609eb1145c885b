package main

import (
	"strings"
	"testing"
)

func TestInterleaved(t *testing.T) {
	app := (&command{}).app()
	for in, want := range map[string]string{
		"manifest":                                  "manifest",
		"manifest version --json":                   "manifest version --json",
		"manifest inspect a --raw":                  "manifest inspect --raw -- a",
		"manifest create a -t x b --dry-run":        "manifest create -t x --dry-run -- a b",
		"manifest create a --target=x b":            "manifest create --target=x -- a b",
		"manifest --username u inspect a":           "manifest --username u inspect -- a",
		"manifest push --type oci from-spec f":      "manifest push --type oci from-spec -- f",
		"manifest push from-spec f --type oci":      "manifest push from-spec --type oci -- f",
		"manifest push from-spec -":                 "manifest push from-spec -- -",
		"manifest inspect -- --raw":                 "manifest inspect -- --raw",
		"manifest inspect a -- -b":                  "manifest inspect -- a -b",
		"manifest nothing a --raw":                  "manifest nothing a --raw",
		"manifest create a --nosuch b":              "manifest create --nosuch -- a b",
		"manifest create a --annotation index:k=-v": "manifest create --annotation index:k=-v -- a",
	} {
		if got := strings.Join(interleaved(app, strings.Fields(in)), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}
