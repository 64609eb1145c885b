package file

import (
	"archive/tar"
	"fmt"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// manyFiles is a context of n files in directories of a hundred.
func manyFiles(n int) *tree.View {
	tab := layer.NewTable()
	dir := &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: time.Unix(1, 0)}
	for i := range n {
		p := fmt.Sprintf("src/pkg%d/sub%d", i/1000, i/100%10)
		tab.Make(p).Inode = dir
		tab.Make(fmt.Sprintf("%s/file%d.go", p, i)).Inode = &layer.Inode{
			Kind: layer.Regular, Mode: 0o644, Size: 10, ModTime: time.Unix(1, 0), Content: layer.Bytes("0123456789"),
		}
	}
	return tree.NewView(tab.Seal())
}

func BenchmarkCopy50000(b *testing.B) {
	src := manyFiles(50_000)
	var base []*layer.Table
	for range 10 {
		t := layer.NewTable()
		t.Make("usr/lib/x").Inode = &layer.Inode{Kind: layer.Regular}
		base = append(base, t.Seal())
	}
	dst := tree.NewView(base...)
	for name, c := range map[string]*graph.Copy{
		"all":       docker("/", "/app/"),
		"wildcards": docker("/src/*/*/*.go", "/app/"),
		"patterns":  docker("/", "/app/", without("**/*.tmp", "node_modules")),
	} {
		b.Run(name, func(b *testing.B) {
			op := &graph.File{Actions: []graph.FileAction{{Input: 0, Secondary: 1, Do: c}}}
			for b.Loop() {
				if _, err := Do(b.Context(), op, []*tree.View{dst, src}, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnpack20000(b *testing.B) {
	var hs []*tar.Header
	for i := range 20_000 {
		hs = append(hs, header(tar.TypeReg, fmt.Sprintf("src/pkg%d/sub%d/file%d.go", i/1000, i/100%10, i)))
	}
	src := holding("a.tar", tarball(b, hs...))
	op := &graph.File{Actions: []graph.FileAction{{Input: -1, Secondary: 0, Do: docker("/a.tar", "/", unpacking)}}}
	for b.Loop() {
		if _, err := Do(b.Context(), op, []*tree.View{src}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
