package layer_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strake-build/strake/shared/layer"
)

var then = time.Unix(1_600_000_000, 0)

// sample is a table with one of everything.
func sample() *layer.Table {
	t := layer.NewTable()
	put := func(p string, in layer.Inode) *layer.Inode {
		if in.ModTime.IsZero() {
			in.ModTime = then
		}
		t.Make(p).Inode = &in
		return &in
	}
	text := func(s string, mode uint32) layer.Inode {
		return layer.Inode{Kind: layer.Regular, Mode: mode, Size: int64(len(s)), Content: layer.Bytes(s)}
	}
	t.Root.Inode = &layer.Inode{Kind: layer.Dir, Mode: 0o755, ModTime: then}
	put("bin", layer.Inode{Kind: layer.Dir, Mode: 0o755})
	put("bin/sh", text("#!", 0o755))
	put("bin/su", text("setuid", 0o4755))
	ping := text("ping", 0o755)
	ping.Xattrs = map[string]string{
		"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"user.comment":        "a\nb\x00c", "user.a=b": "equals",
	}
	put("bin/ping", ping)
	t.Make("bin/aping").Inode = t.Lookup("bin/ping").Inode
	t.Make("zping").Inode = t.Lookup("bin/ping").Inode
	put("bin/link", layer.Inode{Kind: layer.Symlink, Mode: 0o777, UID: 5, GID: 6, Target: "../../../etc/passwd"})
	put("dev", layer.Inode{Kind: layer.Dir, Mode: 0o1777, UID: 1, GID: 2})
	put("dev/null", layer.Inode{Kind: layer.Char, Mode: 0o666, DevMajor: 1, DevMinor: 3})
	put("dev/sda", layer.Inode{Kind: layer.Block, Mode: 0o660, GID: 6, DevMajor: 8, DevMinor: 300})
	put("dev/fifo", layer.Inode{Kind: layer.Fifo, Mode: 0o622})
	put("etc", layer.Inode{Kind: layer.Dir, Mode: 0o2750, UID: 3_000_000, GID: 4_000_000_000})
	t.Make("etc").Opaque = true
	put("etc/"+strings.Repeat("long", 50), text("long name", 0o600))
	put("etc/"+strings.Repeat("d", 120)+"/"+strings.Repeat("e", 90)+"/f", text("prefix", 0o644))
	put("etc/ünïcödé", text("x", 0o644))
	put("etc/old", layer.Inode{Kind: layer.Regular, Mode: 0o400, ModTime: time.Unix(-5, 0)})
	put("etc/big", text(strings.Repeat("0123456789abcdef", 40_000), 0o644))
	put("etc/linkto", layer.Inode{Kind: layer.Symlink, Mode: 0o777, Target: "/" + strings.Repeat("t/", 80)})
	w := t.Make("gone")
	w.Whiteout = true
	for _, d := range []string{"etc/" + strings.Repeat("d", 120), "etc/" + strings.Repeat("d", 120) + "/" + strings.Repeat("e", 90)} {
		put(d, layer.Inode{Kind: layer.Dir, Mode: 0o700})
	}
	return t.Seal()
}

// tarOf writes a table.
func tarOf(t *testing.T, table *layer.Table, o layer.WriteOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := layer.Write(t.Context(), &b, table, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t *testing.T, blob []byte, o layer.UnpackOptions) (*layer.Table, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	table, _, err := layer.Unpack(t.Context(), bytes.NewReader(blob), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return table, dir
}

func spoolFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestRoundTrip(t *testing.T) {
	needRoot(t)
	want := tarOf(t, sample(), layer.WriteOptions{})

	table, dir := unpack(t, want, layer.UnpackOptions{})
	if got := tarOf(t, table, layer.WriteOptions{}); !bytes.Equal(got, want) {
		t.Error("the table of the unpacked layer is another")
	}

	spooled, _, err := layer.Unpack(t.Context(), bytes.NewReader(want), "", layer.UnpackOptions{Spool: spoolFile(t)})
	if err != nil {
		t.Fatal(err)
	}
	if got := tarOf(t, spooled, layer.WriteOptions{}); !bytes.Equal(got, want) {
		t.Error("the spooled table is another")
	}

	again := filepath.Join(t.TempDir(), "again")
	if err := os.Mkdir(again, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := layer.Checkout(t.Context(), table, again, layer.CheckoutOptions{}); err != nil {
		t.Fatal(err)
	}
	if a, b := listing(t, dir), listing(t, again); a != b {
		t.Errorf("unpacked:\n%s\nchecked out:\n%s", a, b)
	}

	f := spoolFile(t)
	if err := layer.Capture(table, f); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := tarOf(t, table, layer.WriteOptions{}); !bytes.Equal(got, want) {
		t.Error("the captured table is another")
	}
}

func TestReadTableHasNoContents(t *testing.T) {
	table, st, err := layer.ReadTable(t.Context(), bytes.NewReader(tarOf(t, sample(), layer.WriteOptions{})), layer.UnpackOptions{})
	if err != nil || st.Entries < 20 {
		t.Fatal(st, err)
	}
	n := table.Lookup("etc/big")
	if n == nil || n.Inode.Size != 640_000 {
		t.Fatalf("etc/big is %+v", n)
	}
	if err := layer.Write(context.Background(), io.Discard, table, layer.WriteOptions{}); err == nil {
		t.Error("contents came from nowhere")
	}
}

func TestSetgidParentAndDefaultACLDoNotLeak(t *testing.T) {
	needRoot(t)
	blob := tarOf(t, sample(), layer.WriteOptions{})
	_, plain := unpack(t, blob, layer.UnpackOptions{})

	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 0, 1234); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	setACL(t, dir)
	if _, _, err := layer.Unpack(t.Context(), bytes.NewReader(blob), dir, layer.UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	if a, b := listing(t, plain), listing(t, dir); a != b {
		t.Errorf("in a plain directory:\n%s\nin an inheriting one:\n%s", a, b)
	}
}
