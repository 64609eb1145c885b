package file

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/tree"
)

// bzip2 has no encoder here: a tar with the file f, owned by 0:0, of time 100, saying "hi".
const bzip2ed = "QlpoOTFBWSZTWZA8onoAAG7bgM0AQAB1AAAA4WAeAAgIIABUNIBoGg00EhUDQxAH19CIQc4ghFX1alnKZIEMGVgoxF4g88IhiMBKZLVlVmYyIgPi7kinChISB5RPQA=="

func unpacking(c *graph.Copy) { c.AttemptUnpack = true }

func header(kind byte, name string, with ...func(*tar.Header)) *tar.Header {
	h := &tar.Header{Typeflag: kind, Name: name, Mode: 0o644, Uid: 5, Gid: 6, ModTime: time.Unix(100, 0)}
	for _, w := range with {
		w(h)
	}
	return h
}

func to(target string) func(*tar.Header) { return func(h *tar.Header) { h.Linkname = target } }

// tarball makes a tar; a regular file's content is its name.
func tarball(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		data := ""
		if h.Typeflag == tar.TypeReg {
			data = h.Name
			h.Size = int64(len(data))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// holding is a file system with one file.
func holding(name string, data []byte) *tree.View {
	tab := layer.NewTable()
	tab.Make(name).Inode = &layer.Inode{
		Kind: layer.Regular, Mode: 0o600, Size: int64(len(data)), ModTime: time.Unix(7, 0), Content: layer.Bytes(data),
	}
	return tree.NewView(tab.Seal())
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		headers   []*tar.Header
		copy      *graph.Copy
		dst       string
		want, err string
	}{
		{
			name:    "metadata from the archive",
			headers: []*tar.Header{header(tar.TypeDir, "d"), header(tar.TypeReg, "d/f", func(h *tar.Header) { h.Mode = 0o4755 })},
			copy:    docker("/a.tar", "/o", unpacking, chmod(0o700)),
			want:    "d 0755 0:0 5000 o\n d 0644 5:6 100 o/d\n f 4755 5:6 100 o/d/f d/f",
		},
		{
			name:    "an owner for all but implied directories",
			headers: []*tar.Header{header(tar.TypeReg, "i/f"), header(tar.TypeSymlink, "s", to("../../up"))},
			copy:    docker("/*.tar", "/o/", unpacking, chown(1, 2)),
			want:    "d 0755 1:2 5000 o\n d 0755 0:0 5000 o/i\n f 0644 1:2 100 o/i/f i/f\n l 0777 1:2 100 o/s ../../up",
		},
		{
			name:    "the root entry leaves the destination alone",
			headers: []*tar.Header{header(tar.TypeDir, "./"), header(tar.TypeDir, "/"), header(tar.TypeFifo, "p/..")},
			copy:    docker("/a.tar", "/tmp", unpacking),
			dst:     "d 1777 3:3 1 tmp",
			want:    "d 1777 3:3 1 tmp",
		},
		{
			name: "nothing gets out",
			headers: []*tar.Header{
				header(tar.TypeReg, "../../a"),
				header(tar.TypeSymlink, "up", to("../../../..")), header(tar.TypeReg, "up/b"),
				header(tar.TypeSymlink, "abs", to("/etc")), header(tar.TypeReg, "abs/passwd"),
				header(tar.TypeLink, "hard", to("../../etc/shadow")),
			},
			copy: docker("/a.tar", "/o/", unpacking),
			dst:  "d 0755 0:0 1 etc\n f 0600 0:0 1 etc/shadow s\n d 0755 0:0 1 o\n d 0755 0:0 1 o/etc\n f 0600 0:0 1 o/etc/shadow mine",
			want: `d 0755 0:0 1 etc
				f 0600 0:0 1 etc/shadow s
				d 0755 0:0 1 o
				f 0644 5:6 100 o/a ../../a
				l 0777 5:6 100 o/abs /etc
				f 0644 5:6 100 o/b up/b
				d 0755 0:0 1 o/etc
				f 0644 5:6 100 o/etc/passwd abs/passwd
				f 0644 5:6 100 o/etc/shadow mine
				h o/hard o/etc/shadow
				l 0777 5:6 100 o/up ../../../..`,
		},
		{
			name: "things replace each other",
			headers: []*tar.Header{
				header(tar.TypeReg, "d"), header(tar.TypeDir, "f"), header(tar.TypeDir, "l"), header(tar.TypeReg, "l/x"),
			},
			copy: docker("/a.tar", "/", unpacking),
			dst:  "d 0755 0:0 1 d\n f 0644 0:0 1 d/x\n f 0644 0:0 1 f\n l 0777 0:0 1 l d",
			want: "f 0644 5:6 100 d d\n d 0644 5:6 100 f\n d 0644 5:6 100 l\n f 0644 5:6 100 l/x l/x",
		},
		{
			name: "links, devices, attributes, and names that look like whiteouts",
			headers: []*tar.Header{
				header(tar.TypeReg, "f", func(h *tar.Header) {
					h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "c", "SCHILY.xattr.trusted.overlay.opaque": "y"}
				}),
				header(tar.TypeLink, "h", to("./f")),
				header(tar.TypeChar, "n", func(h *tar.Header) { h.Devmajor, h.Devminor = 1, 3 }),
				header(tar.TypeFifo, "p"), header(tar.TypeReg, ".wh.x"),
			},
			copy: docker("/a.tar", "/", unpacking),
			want: `f 0644 5:6 100 .wh.x .wh.x
				f 0644 5:6 100 f f
				x f security.capability=c
				h h f
				c 0644 5:6 100 n 1:3
				p 0644 5:6 100 p`,
		},
		{
			name:    "a directory that is there is merged",
			headers: []*tar.Header{header(tar.TypeDir, "etc", func(h *tar.Header) { h.Mode = 0o700 }), header(tar.TypeReg, "etc/new")},
			copy:    docker("/a.tar", "/", unpacking),
			dst:     "d 0755 0:0 1 etc\n f 0644 0:0 1 etc/old",
			want:    "d 0700 5:6 100 etc\n f 0644 5:6 100 etc/new etc/new\n f 0644 0:0 1 etc/old",
		},
		{
			name: "a symlink that was gone through is replaced",
			headers: []*tar.Header{
				header(tar.TypeSymlink, "s", to("a")), header(tar.TypeReg, "s/x"), header(tar.TypeDir, "s"), header(tar.TypeReg, "s/y"),
			},
			copy: docker("/a.tar", "/", unpacking),
			dst:  "d 0755 0:0 1 a",
			want: "d 0755 0:0 1 a\n f 0644 5:6 100 a/x s/x\n d 0644 5:6 100 s\n f 0644 5:6 100 s/y s/y",
		},
		{name: "a hard link to nothing", headers: []*tar.Header{header(tar.TypeLink, "h", to("x"))}, copy: docker("/a.tar", "/", unpacking), err: `hard link to "x"`},
		{name: "a name too long", headers: []*tar.Header{header(tar.TypeDir, "a/"+strings.Repeat("x", 256))}, copy: docker("/a.tar", "/", unpacking), err: "name too long"},
		{name: "a loop", headers: []*tar.Header{header(tar.TypeSymlink, "l", to("l")), header(tar.TypeReg, "l/x")}, copy: docker("/a.tar", "/", unpacking), err: "too many levels"},
		{name: "below a file", headers: []*tar.Header{header(tar.TypeReg, "f"), header(tar.TypeReg, "f/x")}, copy: docker("/a.tar", "/", unpacking), err: "not a directory"},
		{name: "onto a file", headers: []*tar.Header{header(tar.TypeReg, "f")}, copy: docker("/a.tar", "/f", unpacking), dst: "f 0644 0:0 1 f", err: "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dst := table(t, tt.dst)
			got, err := one(t, tt.copy, tree.NewView(dst), holding("a.tar", tarball(t, tt.headers...)), Options{})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "result", dump(t, tree.NewView(dst, got)), tt.want)
		})
	}
}

func compressed(t *testing.T, w func(io.Writer) (io.WriteCloser, error), data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := w(&b)
	if err == nil {
		_, err = z.Write(data)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func TestSniffing(t *testing.T) {
	t.Parallel()
	plain := tarball(t, header(tar.TypeReg, "f", func(h *tar.Header) { h.Uid, h.Gid = 0, 0 }))
	bz, err := base64.StdEncoding.DecodeString(bzip2ed)
	if err != nil {
		t.Fatal(err)
	}
	zstandard := compressed(t, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }, plain)
	for name, tt := range map[string]struct {
		data   []byte
		unpack bool
	}{
		"tar": {plain, true}, "gzip": {compressed(t, gzipped, plain), true}, "bzip2": {bz, true},
		"xz":                {compressed(t, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }, plain), true},
		"zstd":              {zstandard, true},
		"skippable frame":   {append([]byte("\x50\x2a\x4d\x18\x02\x00\x00\x00hi"), zstandard...), true},
		"empty":             {nil, false},
		"empty tar":         {tarball(t), false},
		"text":              {[]byte("hello"), false},
		"gzip of text":      {compressed(t, gzipped, []byte("hello")), false},
		"broken gzip":       {[]byte("\x1f\x8b\x08nonsense"), false},
		"broken first head": {plain[100:], false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := one(t, docker("/plain.gz", "/", unpacking), nil, holding("plain.gz", tt.data), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if tt.unpack != (got.Lookup("f") != nil) || tt.unpack == (got.Lookup("plain.gz") != nil) {
				t.Errorf("result is %s", dump(t, tree.NewView(got)))
			}
		})
	}
}

func TestUnpackBroken(t *testing.T) {
	t.Parallel()
	whole := tarball(t, header(tar.TypeReg, "f"), header(tar.TypeReg, "g"))
	if _, err := one(t, docker("/a", "/", unpacking), nil, holding("a", whole[:1100]), Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
}

func TestUnpackLimits(t *testing.T) {
	t.Parallel()
	data := tarball(t, header(tar.TypeReg, "four"), header(tar.TypeReg, "five5"))
	for name, tt := range map[string]struct {
		limits layer.Limits
		err    string
	}{
		"enough":       {layer.Limits{Entries: 2, Bytes: 9}, ""},
		"unlimited":    {layer.Limits{Entries: -1, Bytes: -1, Metadata: -1, Path: -1}, ""},
		"entries":      {layer.Limits{Entries: 1}, "more than 1 entries"},
		"bytes":        {layer.Limits{Bytes: 8}, "more than 8 bytes"},
		"metadata":     {layer.Limits{Metadata: 5}, "metadata"},
		"long path":    {layer.Limits{Path: 4}, "too long"},
		"total is not": {layer.Limits{Path: 5}, ""},
	} {
		_, err := one(t, docker("/a", "/", unpacking), nil, holding("a", data), Options{Limits: tt.limits})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error is %v, want %q", name, err, tt.err)
		}
	}
}

// TestSpool keeps contents apart, over buffers and holes, in the file that it was given.
func TestSpool(t *testing.T) {
	t.Parallel()
	p := filepath.Join(t.TempDir(), "spool")
	s := &spool{open: func() (*os.File, error) { return os.Create(p) }}
	contents := []string{
		"small", strings.Repeat("x", 300<<10), strings.Repeat("\x00", 8<<20), "after", "",
		"a" + strings.Repeat("\x00", 1<<20), strings.Repeat("\x00", 1<<20),
	}
	var kept []layer.Content
	for _, c := range contents {
		k, err := s.add(strings.NewReader(c+"more"), int64(len(c)))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, k)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	for i, c := range contents {
		got, err := tree.ReadAll(&layer.Inode{Size: int64(len(c)), Content: kept[i]})
		if err != nil || string(got) != c {
			t.Errorf("content %d: %d bytes, %v", i, len(got), err)
		}
	}
	f, off, n, err := kept[3].(layer.FileContent).File()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, n)
	if _, err := f.ReadAt(got, off); err != nil || string(got) != "after" {
		t.Errorf("by file: %q, %v", got, err)
	}
	if err := errors.Join(f.Close(), s.file.Close()); err != nil {
		t.Error(err)
	}
	if _, err := (&spool{}).add(strings.NewReader("x"), 2); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too short: %v", err)
	}
}
