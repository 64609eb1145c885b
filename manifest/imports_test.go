package main

import (
	goparser "go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOwners: only the packages below internal know cosign and manifest-tool.
func TestOwners(t *testing.T) {
	owners := map[string][]string{
		"github.com/sigstore/":             {"internal/cosign", "internal/sigstoretest"},
		"github.com/estesp/manifest-tool/": {"internal/manifesttool"},
		"gopkg.in/yaml":                    {"internal/manifesttool"},
	}
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		f, err := goparser.ParseFile(token.NewFileSet(), p, nil, goparser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			for prefix, owner := range owners {
				if strings.HasPrefix(strings.Trim(i.Path.Value, `"`), prefix) && !slices.Contains(owner, filepath.ToSlash(filepath.Dir(p))) {
					t.Errorf("%s imports %s, which only %s may", p, i.Path.Value, owner)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLinked: what builds images and fetches their contexts is not in the program.
func TestLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	if len(all) < 100 {
		t.Fatalf("%d packages", len(all))
	}
	for _, p := range all {
		for _, not := range []string{
			"github.com/strake-build/strake/shared/build", "github.com/strake-build/strake/shared/frontend", "github.com/strake-build/strake/shared/op",
			"github.com/strake-build/strake/shared/sandbox", "github.com/moby/buildkit", "github.com/go-git/",
			"github.com/aws/aws-sdk-go-v2/service/s3", "github.com/Azure/azure-sdk-for-go/sdk/storage", "cloud.google.com/go/storage",
		} {
			if strings.HasPrefix(p, not) {
				t.Errorf("%s is linked", p)
			}
		}
	}
}
