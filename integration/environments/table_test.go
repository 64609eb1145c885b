package environments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/integration/testkit"
)

// times are filled by the tests, and written at once: the whole takes an hour.
var times = Times{}

func measured(t *testing.T, env, dockerfile string, took time.Duration) {
	t.Helper()
	times.Add(env, dockerfile, took)
	if !*full || env == "" {
		return
	}
	if err := WriteTable(document(t), times); err != nil {
		t.Error(err)
	}
}

func document(t *testing.T) string {
	t.Helper()
	root, err := testkit.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "docs", "environments.md")
}

// TestDocument holds the table of docs/environments.md to what the tests check.
func TestDocument(t *testing.T) {
	content, err := os.ReadFile(document(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range All() {
		if !strings.Contains(string(content), "\n"+Row(e)) {
			t.Errorf("docs/environments.md lacks %q; make environments writes it", Row(e))
		}
	}
}
