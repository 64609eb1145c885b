package environments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/integration/testkit"
)

// times are filled by the tests before; the tests of a package run in the order of its files.
var times = Times{}

// TestDocument holds the table of docs/environments.md to what the tests check, and writes it with -full.
func TestDocument(t *testing.T) {
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	document := filepath.Join(root, "docs", "environments.md")
	if *full && *only == "" {
		if err := WriteTable(document, times); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range All() {
		if !strings.Contains(string(content), "\n"+Row(e)) {
			t.Errorf("docs/environments.md lacks %q; make environments writes it", Row(e))
		}
	}
}
