// Package floors holds the order of the packages: what each may import, and what only one may.
package floors

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/strake-build/strake/shared/"

// floor says how high a package stands; it imports from lower floors only.
var floor = map[string]int{
	"cli/flags":         0,
	"fakeroot":          0,
	"framed":            0,
	"graph":             0,
	"logging":           0,
	"version":           0,
	"attest":            1,
	"credentials":       1,
	"disposable":        1,
	"layer":             1,
	"registry":          1,
	"sandbox":           1,
	"store":             1,
	"credentials/cloud": 2,
	"environment":       2,
	"frontend":          2,
	"image":             2,
	"index":             2,
	"snapshot":          2,
	"warmed":            2,
	"cache":             3,
	"export":            3,
	"tree":              3,
	"op/file":           4,
	"op/run":            4,
	"op/source":         4,
	"sbom":              4,
	"unpacked":          4,
	"buildcontext":      5,
	"op":                5,
	"solve":             6,
	"stepcache":         6,
	"build":             7,
	"merge":             7,
	"warm":              7,
	"cli":               8,
	"cli/progress":      9,
}

// owners are the only packages that may import what begins with a path.
var owners = map[string][]string{
	"github.com/moby/buildkit/": {"frontend"},
	"github.com/rs/zerolog":     {"build", "cli", "cli/progress", "logging"},
	"github.com/urfave/cli":     {"cli", "cli/flags"},
	"github.com/go-git/":        {"op/source"},
	"github.com/klauspost/":     {"layer", "op/file"},
	"github.com/aws/":           {"buildcontext", "credentials/cloud"},
	"github.com/Azure/":         {"buildcontext", "credentials/cloud"},
	"golang.org/x/oauth2":       {"buildcontext", "credentials/cloud"},
	"github.com/CycloneDX/":     {"sbom"},
	"github.com/spdx/":          {"sbom"},
	"github.com/google/go-containerregistry/pkg/v1/remote": {"registry", "export", "image", "merge"},
}

func TestFloors(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		if strings.Contains(filepath.ToSlash(p), "/testdata/") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(p, "../")))
		if strings.HasSuffix(pkg, "test") { // kits for tests may import what they test
			return nil
		}
		seen++
		checkFile(t, pkg, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("no file was looked at")
	}
}

func checkFile(t *testing.T, pkg, file string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	own, ok := floor[pkg]
	if !ok {
		t.Errorf("%s: package %s stands on no floor; give it one", file, pkg)
	}
	for _, i := range f.Imports {
		imp, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if rest, ours := strings.CutPrefix(imp, module); ours {
			if other := floor[path.Clean(rest)]; other >= own {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d)", file, pkg, own, rest, other)
			}
		}
		checkOwner(t, pkg, file, imp)
	}
}

func checkOwner(t *testing.T, pkg, file, imp string) {
	t.Helper()
	for prefix, who := range owners {
		if !strings.HasPrefix(imp, prefix) {
			continue
		}
		allowed := false
		for _, w := range who {
			allowed = allowed || w == pkg
		}
		if !allowed {
			t.Errorf("%s: %s imports %s, which only %v may", file, pkg, imp, who)
		}
	}
}
