package layer_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strake-build/strake/shared/layer"
)

// smallFiles writes many small files of words and returns their table.
func smallFiles(b *testing.B, files int) (*layer.Table, string) {
	b.Helper()
	dir := b.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	var words []string
	for range 5000 {
		words = append(words, fmt.Sprintf("%x", rng.Uint64N(1<<40)))
	}
	t := layer.NewTable()
	for i := range files {
		p := fmt.Sprintf("node_modules/package-%d/lib/part%d/file-%d.js", i/100, i/10%10, i)
		var s strings.Builder
		for size := rng.IntN(6000); s.Len() < size; {
			s.WriteString(words[rng.IntN(len(words))] + " ")
		}
		if i%10 == 0 {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o755); err != nil {
				b.Fatal(err)
			}
			for d := filepath.Dir(p); d != "."; d = filepath.Dir(d) {
				t.Make(d).Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: then}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, p), []byte(s.String()), 0o644); err != nil {
			b.Fatal(err)
		}
		t.Make(p).Inode = &layer.Inode{
			Kind: layer.Regular, Mode: 0o644, Size: int64(s.Len()), ModTime: then,
			Content: &layer.File{Dir: dir, Path: p},
		}
	}
	return t.Seal(), dir
}

func BenchmarkWrite(b *testing.B) {
	t, _ := smallFiles(b, 50_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := layer.Write(b.Context(), io.Discard, t, layer.WriteOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	t, _ := smallFiles(b, 50_000)
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		b.Run(c.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				blob := pack(b, t, layer.PackOptions{Compression: c})
				b.ReportMetric(float64(blob.Size)/1e6, "MB")
			}
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	t, _ := smallFiles(b, 100_000)
	blob := readBlob(b, pack(b, t, layer.PackOptions{}))
	for _, to := range []string{"dir", "spool", "table"} {
		b.Run(to, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				dir, o := "", layer.UnpackOptions{}
				scratch := b.TempDir()
				switch to {
				case "dir":
					dir = scratch
				case "spool":
					f, err := os.Create(filepath.Join(scratch, "spool"))
					if err != nil {
						b.Fatal(err)
					}
					defer f.Close()
					o.Spool = f
				}
				b.StartTimer()
				if _, _, err := layer.Unpack(b.Context(), bytes.NewReader(blob), dir, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
