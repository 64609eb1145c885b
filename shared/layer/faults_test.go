package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/strake-build/strake/shared/layer"
)

func TestDamagedBlobs(t *testing.T) {
	b := pack(t, bulk(20, 50_000), layer.PackOptions{})
	data := readBlob(t, b)
	unpack := func(r io.Reader, o layer.UnpackOptions) error {
		_, _, err := layer.ReadTable(t.Context(), r, o)
		return err
	}
	if err := unpack(bytes.NewReader(data[:len(data)/2]), layer.UnpackOptions{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	bad := bytes.Clone(data)
	bad[len(bad)/2] ^= 1
	if err := unpack(bytes.NewReader(bad), layer.UnpackOptions{}); err == nil {
		t.Error("a flipped bit passes")
	}
	if err := unpack(bytes.NewReader(data), layer.UnpackOptions{DiffID: b.Digest}); !errors.Is(err, layer.ErrIntegrity) {
		t.Error(err)
	}
	cause := errors.New("registry sent something else")
	for _, r := range []io.Reader{
		io.MultiReader(bytes.NewReader(data), failing{cause}),
		io.MultiReader(bytes.NewReader(bad), failing{cause}),
		io.MultiReader(bytes.NewReader(data[:1000]), failing{cause}),
	} {
		if err := unpack(r, layer.UnpackOptions{}); !errors.Is(err, cause) {
			t.Error(err)
		}
	}
	var wide bytes.Buffer
	z, err := zstd.NewWriter(&wide, zstd.WithWindowSize(256<<20))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(make([]byte, 1<<20))
	z.Flush()
	z.Close()
	if err := unpack(&wide, layer.UnpackOptions{}); !errors.Is(err, zstd.ErrWindowSizeExceeded) {
		t.Error(err)
	}
	if err := unpack(strings.NewReader("this is no tar at all"+strings.Repeat(".", 2000)), layer.UnpackOptions{}); !errors.Is(err, layer.ErrMalformed) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestBlobOnDiskIsVerified(t *testing.T) {
	dir := t.TempDir()
	b, err := layer.Pack(t.Context(), sample(), dir, layer.PackOptions{Compression: layer.None})
	if err != nil {
		t.Fatal(err)
	}
	if l, _ := os.ReadDir(dir); len(l) != 1 || l[0].Name() != b.Digest.Hex {
		t.Error(l)
	}
	name := filepath.Join(dir, b.Digest.Hex)
	data, _ := os.ReadFile(name)
	for _, bad := range [][]byte{data[:len(data)-1], append(bytes.Clone(data), 0), append(bytes.Clone(data[1:]), 0)} {
		os.WriteFile(name, bad, 0o644)
		r, err := b.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, layer.ErrIntegrity) {
			t.Error(err)
		}
		r.Close()
	}
}

func TestCancel(t *testing.T) {
	before := runtime.NumGoroutine()
	table := bulk(200, 200_000)
	cause := errors.New("enough")
	dir := t.TempDir()
	for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Millisecond, func() { cancel(cause) })
		if _, err := layer.Pack(ctx, table, dir, layer.PackOptions{Compression: c}); !errors.Is(err, cause) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if l, _ := os.ReadDir(dir); len(l) > 0 {
		t.Error("left behind:", l)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, _, err := layer.ReadTable(ctx, bytes.NewReader(tarOf(t, table, layer.WriteOptions{})), layer.UnpackOptions{}); !errors.Is(err, cause) {
		t.Error(err)
	}
	time.Sleep(20 * time.Millisecond)
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before %d", n, before)
	}
}

func TestFullDisk(t *testing.T) {
	before := runtime.NumGoroutine()
	// Every write beyond the limit fails as on a full disk.
	table := bulk(100, 200_000)
	dir := t.TempDir()
	limitFileSize(t, 1<<20, func() {
		for _, c := range []layer.Compression{layer.Gzip, layer.Zstd, layer.None} {
			if _, err := layer.Pack(t.Context(), table, dir, layer.PackOptions{Compression: c}); err == nil {
				t.Errorf("%v: no error", c)
			}
		}
	})
	if l, _ := os.ReadDir(dir); len(l) > 0 {
		t.Error("left behind:", l)
	}
	time.Sleep(20 * time.Millisecond)
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before %d", n, before)
	}
}

func TestMemoryDoesNotGrowWithTheLayer(t *testing.T) {
	const size = 256 << 20
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "big"), size); err != nil {
		t.Fatal(err)
	}
	table := layer.NewTable()
	table.Make("big").Inode = &layer.Inode{Kind: layer.Regular, Size: size, Content: &layer.File{Dir: dir, Path: "big"}}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	pack(t, table.Seal(), layer.PackOptions{Level: 1})
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("%d MiB", grown>>20)
	}
}
