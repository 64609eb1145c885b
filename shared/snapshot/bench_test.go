package snapshot_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/strake-build/strake/shared/snapshot"
)

// manyFiles makes a directory of 100,000 entries.
func manyFiles(b *testing.B) string {
	b.Helper()
	root := b.TempDir()
	for d := range 1000 {
		dir := filepath.Join(root, fmt.Sprintf("d%d", d%30), fmt.Sprintf("e%d", d))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for f := range 100 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", f)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	return root
}

func BenchmarkUpper(b *testing.B) {
	root := manyFiles(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := snapshot.Upper(b.Context(), root, snapshot.UpperOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	root := manyFiles(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := snapshot.Take(b.Context(), root, snapshot.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
