package layer_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/strake-build/strake/shared/layer"
)

func pack(t testing.TB, table *layer.Table, o layer.PackOptions) *layer.Blob {
	t.Helper()
	b, err := layer.Pack(t.Context(), table, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readBlob(t testing.TB, b *layer.Blob) []byte {
	t.Helper()
	r, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func digest(b []byte) v1.Hash {
	h := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h[:])}
}

// bulk is a table whose files are neither random nor simple.
func bulk(files, size int) *layer.Table {
	t := layer.NewTable()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range files {
		b := make([]byte, size+i%7)
		for j := range b {
			b[j] = "etaoin shrdlu\n"[rng.IntN(14)]
			if j%64 == 0 {
				b[j] = byte(rng.Uint32())
			}
		}
		in := layer.Inode{Kind: layer.Regular, Mode: 0o644, Size: int64(len(b)), Content: layer.Bytes(b), ModTime: then}
		t.Make(fmt.Sprintf("d%d/f%d", i%10, i)).Inode = &in
	}
	return t.Seal()
}

func TestPack(t *testing.T) {
	table := sample()
	plain := tarOf(t, table, layer.WriteOptions{})
	for _, c := range []struct {
		o    layer.PackOptions
		want types.MediaType
	}{
		{layer.PackOptions{}, types.OCILayer},
		{layer.PackOptions{Docker: true, Level: 1}, types.DockerLayer},
		{layer.PackOptions{Compression: layer.Zstd, Sync: true}, types.OCILayerZStd},
		{layer.PackOptions{Compression: layer.None}, types.OCIUncompressedLayer},
		{layer.PackOptions{Compression: layer.None, Docker: true}, types.DockerUncompressedLayer},
	} {
		b := pack(t, table, c.o)
		data := readBlob(t, b)
		if b.DiffID != digest(plain) || b.Digest != digest(data) || b.Size != int64(len(data)) || b.MediaType != c.want {
			t.Errorf("%+v: %+v", c.o, b)
		}
		got, st, err := layer.Unpack(t.Context(), bytes.NewReader(data), "", layer.UnpackOptions{DiffID: b.DiffID, Spool: spoolFile(t)})
		if err != nil || st.DiffID != b.DiffID || st.Size != int64(len(plain)) {
			t.Fatal(st, err)
		}
		if !bytes.Equal(tarOf(t, got, layer.WriteOptions{}), plain) {
			t.Errorf("%+v: comes back as another", c.o)
		}
	}
	for _, o := range []layer.PackOptions{{Compression: layer.Zstd, Docker: true}, {Level: 10}, {Level: -1}} {
		if _, err := layer.Pack(t.Context(), table, t.TempDir(), o); err == nil {
			t.Errorf("%+v passes", o)
		}
	}
}

func TestSameBytesWhateverTheProcessors(t *testing.T) {
	table := bulk(30, 100_000)
	for _, o := range []layer.PackOptions{{}, {Level: 1}, {Level: 9}, {Compression: layer.Zstd}, {Compression: layer.Zstd, Level: 9}} {
		var first *layer.Blob
		for _, n := range []int{1, 2, 5, 16} {
			before := runtime.GOMAXPROCS(n)
			b := pack(t, table, o)
			runtime.GOMAXPROCS(before)
			if first == nil {
				first = b
			}
			if b.Digest != first.Digest {
				t.Errorf("%+v: on %d processors %v, on one %v", o, n, b.Digest, first.Digest)
			}
		}
	}
}

func TestGzipHeaderSaysNothing(t *testing.T) {
	data := readBlob(t, pack(t, sample(), layer.PackOptions{}))
	if !bytes.Equal(data[:10], []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}) {
		t.Errorf("% x", data[:10])
	}
}

func TestEmptyLayer(t *testing.T) {
	b := pack(t, layer.NewTable().Seal(), layer.PackOptions{})
	if b.DiffID.Hex != "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef" {
		t.Error(b.DiffID)
	}
}

func TestGoReadsIt(t *testing.T) {
	r := tar.NewReader(bytes.NewReader(tarOf(t, sample(), layer.WriteOptions{})))
	seen := map[string]bool{}
	var order []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if seen[h.Name] || h.Uname != "" || h.Gname != "" || !h.AccessTime.IsZero() || h.ModTime.Nanosecond() != 0 {
			t.Errorf("%+v", h)
		}
		dir, _ := filepath.Split(strings.TrimSuffix(h.Name, "/"))
		if dir != "" && !seen[dir] {
			t.Errorf("%s comes before its directory", h.Name)
		}
		if h.Typeflag == tar.TypeLink && !seen[h.Linkname] {
			t.Errorf("%s comes before its target", h.Name)
		}
		seen[h.Name] = true
		order = append(order, h.Name)
		switch h.Name {
		case "etc/":
			if h.Uid != 3_000_000 || h.Gid != 4_000_000_000 || h.Mode != 0o2750 {
				t.Errorf("%+v", h)
			}
		case "bin/ping":
			// containerd's chown of the link takes capabilities away, so that
			// it wants them again.
			if h.Typeflag != tar.TypeLink || h.PAXRecords["SCHILY.xattr.security.capability"] == "" {
				t.Errorf("%+v", h)
			}
		case "etc/old":
			if h.ModTime.Unix() != -5 {
				t.Errorf("%+v", h)
			}
		}
	}
	if order[0] != "./" || order[1] != "bin/" || !seen[".wh.gone"] || !seen["etc/.wh..wh..opq"] {
		t.Error(order)
	}
}

func TestGNUTarReadsIt(t *testing.T) {
	needRoot(t)
	blob := tarOf(t, sample(), layer.WriteOptions{})
	dir := filepath.Join(t.TempDir(), "root")
	os.Mkdir(dir, 0o755)
	cmd := exec.Command("tar", "-x", "--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*", "-C", dir)
	cmd.Stdin = bytes.NewReader(blob)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, ours := unpack(t, blob, layer.UnpackOptions{})
	clean := func(s string) string {
		var out []string
		for l := range strings.Lines(s) {
			switch {
			case strings.HasPrefix(l, "gone "), strings.Contains(l, ".wh."):
			default:
				l, _, _ = strings.Cut(l, " trusted.overlay")
				out = append(out, strings.TrimSpace(l))
			}
		}
		return strings.Join(out, "\n")
	}
	if a, b := clean(listing(t, ours)), clean(listing(t, dir)); a != b {
		t.Errorf("ours:\n%s\nGNU tar's:\n%s", a, b)
	}
}

// Layers as GNU tar makes them: its long names, sparse files, "./" before all.
func TestReadsGNUTar(t *testing.T) {
	needRoot(t)
	_, src := unpack(t, tarOf(t, sample(), layer.WriteOptions{}), layer.UnpackOptions{})
	os.Remove(filepath.Join(src, "gone"))
	os.Remove(filepath.Join(src, "etc/old")) // GNU's own format has no negative times
	hole, err := os.Create(filepath.Join(src, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	hole.WriteAt([]byte("data"), 3<<20)
	hole.Truncate(5 << 20)
	hole.Close()
	os.Chtimes(filepath.Join(src, "hole"), then, then)
	os.Chtimes(filepath.Join(src, "etc"), then, then)
	os.Chtimes(src, then, then)
	for _, format := range []string{"gnu", "posix"} {
		blob, err := exec.Command("tar", "-c", "--sparse", "--format="+format, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", src, ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		_, dir := unpack(t, blob, layer.UnpackOptions{})
		want, got := listing(t, src), listing(t, dir)
		want = strings.ReplaceAll(want, ` trusted.overlay.opaque="y"`, "") // nobody may bring that
		if format == "posix" && got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", format, got, want)
		}
		if !strings.Contains(got, "hole 100") {
			t.Error(got)
		}
		var blocks int64
		if fi, err := os.Stat(filepath.Join(dir, "hole")); err == nil {
			blocks = statBlocks(fi)
		}
		if blocks > 512 {
			t.Errorf("%s: the hole has %d blocks", format, blocks)
		}
		spooled, _, err := layer.Unpack(t.Context(), bytes.NewReader(blob), "", layer.UnpackOptions{Spool: spoolFile(t)})
		if err != nil {
			t.Fatal(err)
		}
		if s := read(spooled.Lookup("hole").Inode); len(s) != 5<<20 || s[3<<20:3<<20+4] != "data" {
			t.Errorf("%s: spooled %d bytes", format, len(s))
		}
	}
}

func TestEpochAndImplied(t *testing.T) {
	table := layer.NewTable()
	table.Make("a/old").Inode = &layer.Inode{Kind: layer.Fifo, ModTime: time.Unix(100, 5)}
	table.Make("a/new").Inode = &layer.Inode{Kind: layer.Fifo, ModTime: time.Unix(1000, 5)}
	table.Make("b/c").Inode = &layer.Inode{Kind: layer.Fifo, ModTime: time.Unix(300, 5)}
	epoch := time.Unix(200, 0)
	o := layer.WriteOptions{Epoch: &epoch, Implied: func(p string) *layer.Inode {
		if p == "a" {
			return &layer.Inode{Kind: layer.Dir, Mode: 0o701, ModTime: time.Unix(150, 0)}
		}
		return nil
	}}
	r := tar.NewReader(bytes.NewReader(tarOf(t, table.Seal(), o)))
	var got []string
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		got = append(got, fmt.Sprint(h.Name, " ", h.ModTime.Unix()))
	}
	if s := strings.Join(got, ", "); s != "a/ 150, a/new 200, a/old 100, b/c 200" {
		t.Error(s)
	}
}

func TestFilesThatChangeAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{10, 100_000, 1_000_000} {
		name := filepath.Join(dir, "f")
		for _, diff := range []int{-1, 1} {
			if err := os.WriteFile(name, make([]byte, size+diff), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, c := range []layer.Content{&layer.File{Dir: dir, Path: "f"}, layer.Bytes(make([]byte, size+diff))} {
				table := layer.NewTable()
				table.Make("etc/it").Inode = &layer.Inode{Kind: layer.Regular, Size: int64(size), Content: c}
				err := layer.Write(t.Context(), io.Discard, table, layer.WriteOptions{})
				if err == nil || !strings.Contains(err.Error(), "etc/it") {
					t.Errorf("%d%+d: %v", size, diff, err)
				}
				err = layer.Checkout(t.Context(), table, t.TempDir(), layer.CheckoutOptions{Unprivileged: true})
				if err == nil || !strings.Contains(err.Error(), "etc/it") {
					t.Errorf("check out %d%+d: %v", size, diff, err)
				}
				if err := layer.Capture(table, spoolFile(t)); err == nil || !strings.Contains(err.Error(), "etc/it") {
					t.Errorf("capture %d%+d: %v", size, diff, err)
				}
			}
		}
	}
}

func TestNamesOfWhiteoutsAreRefused(t *testing.T) {
	table := layer.NewTable()
	table.Make("d/.wh.x").Inode = &layer.Inode{Kind: layer.Regular}
	if err := layer.Write(t.Context(), io.Discard, table, layer.WriteOptions{}); err == nil {
		t.Error("a file became a whiteout")
	}
}
