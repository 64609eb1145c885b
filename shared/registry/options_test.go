package registry_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/registry"
)

// client makes a client without credentials of this machine's, in a hurry.
func client(t testing.TB, o registry.Options) *registry.Client {
	t.Helper()
	if o.Keychain == nil {
		o.Keychain = noCredentials{}
	}
	c, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.Hurry()
}

func TestNewReportsEverything(t *testing.T) {
	_, err := registry.New(registry.Options{
		InsecureRegistries:      []string{"http://a"},
		SkipTLSVerifyRegistries: []string{"b/c"},
		Mirrors:                 []string{"https://mirror", "m/UPPER"},
		Maps:                    []string{"nothing", "a=;b=c"},
		Certificates:            map[string]string{"x": "/nonexistent/ca.pem", "y": "/dev/null"},
		ClientCerts:             map[string]string{"z": "one"},
	})
	if err == nil {
		t.Fatal("all wrong, and no error")
	}
	for _, want := range []string{`"http://a"`, `"b/c"`, `"https://mirror"`, `"m/UPPER"`, `"nothing"`, `"a="`, "/nonexistent/ca.pem", "no certificate", "certificate,key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word about %s in:\n%v", want, err)
		}
	}
}

func TestCandidates(t *testing.T) {
	for _, c := range []struct {
		name string
		o    registry.Options
		ref  string
		want string
	}{
		{"origin", registry.Options{}, "alpine", "docker.io/library/alpine"},
		{"mirror", registry.Options{Mirrors: []string{"m.io", "n.io/hub/"}}, "alpine:3", "m.io/library/alpine n.io/hub/library/alpine docker.io/library/alpine"},
		{"mirror is for docker.io only", registry.Options{Mirrors: []string{"m.io"}}, "quay.io/a/b", "quay.io/a/b"},
		{"map", registry.Options{Maps: []string{"index.docker.io=m.io;docker.io=n.io/x"}}, "a/b", "m.io/a/b n.io/x/a/b docker.io/a/b"},
		{"maps before mirrors", registry.Options{Mirrors: []string{"m.io"}, Maps: []string{"docker.io=n.io"}}, "a/b", "n.io/a/b m.io/a/b docker.io/a/b"},
		{"prefix", registry.Options{Maps: []string{"quay.io/org=h.io/q", "quay.io=other.io"}}, "quay.io/org/x:1", "h.io/q/x quay.io/org/x"},
		{"prefix is a path, not a string", registry.Options{Maps: []string{"quay.io/org=h.io/q"}}, "quay.io/organic/x", "quay.io/organic/x"},
		{"whole name", registry.Options{Maps: []string{"k8s.io/pause=h.io/x/pause"}}, "k8s.io/pause", "h.io/x/pause k8s.io/pause"},
		{"no fallback", registry.Options{SkipDefaultFallback: true, Mirrors: []string{"m.io"}}, "alpine", "m.io/library/alpine"},
		{"no fallback, nothing matches", registry.Options{SkipDefaultFallback: true, Mirrors: []string{"m.io"}}, "quay.io/a", "quay.io/a"},
		{"origin in a map comes once", registry.Options{Maps: []string{"docker.io=docker.io"}, Mirrors: []string{"m.io"}}, "a/b", "docker.io/a/b m.io/a/b"},
		{"to docker.io", registry.Options{Maps: []string{"old.io=docker.io"}}, "old.io/alpine", "docker.io/library/alpine old.io/alpine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := client(t, c.o).Candidates(c.ref)
			if err != nil || !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
		})
	}
	if got, err := client(t, registry.Options{Maps: []string{"k8s.io/pause=h.io"}}).Candidates("k8s.io/pause"); err == nil {
		t.Errorf("a map that leaves no name gives %v", got)
	}
}

func TestParse(t *testing.T) {
	const d = "@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	for in, want := range map[string]string{
		"alpine":                        "docker.io/library/alpine:latest",
		"index.docker.io/a/b:1":         "docker.io/a/b:1",
		"localhost/x":                   "localhost/x:latest",
		"localhost:5000/x:y":            "localhost:5000/x:y",
		"alpine:3" + d:                  "docker.io/library/alpine:3" + d,
		"r.io:80/x" + d:                 "r.io:80/x" + d,
		"":                              "empty",
		" a":                            "blanks",
		"https://r.io/x":                "without a scheme",
		"r.io/Org/x":                    "lower case",
		"Alpine:TAG":                    "lower case",
		"r.io/":                         "no repository",
		"a//b":                          "empty part",
		"a:b:c":                         "could not parse",
		"a@sha256:12":                   "could not parse",
		"a:" + strings.Repeat("x", 129): "could not parse",
	} {
		got, err := registry.Parse(in)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
