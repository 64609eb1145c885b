package main

import (
	goparser "go/parser"
	"go/token"
	"io/fs"
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
