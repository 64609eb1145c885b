package buildcontext_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/source"
)

// noise is a context that does not compress: longer than what is buffered on the way.
func noise(t testing.TB) []byte {
	t.Helper()
	data := make([]byte, 4<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	return gzipped(t, pack(t, "noise = "+string(data)))
}

const wantNoise = "noise = 4194304 bytes"

// onServers gives a context on a server in every way that goes there by HTTP.
func onServers(t *testing.T, o *object) map[string]buildcontext.Source {
	t.Helper()
	all := make(map[string]buildcontext.Source)
	for ref, opts := range map[string]buildcontext.Options{
		o.URL + "/x":                             {},
		"gs://b/x":                               {GCS: buildcontext.GCS{Endpoint: o.URL}},
		"s3://b/x":                               {S3: buildcontext.S3{Endpoint: o.URL, Config: fixedKeys}},
		"https://acct.blob.core.windows.net/b/x": {Azure: buildcontext.Azure{Endpoint: o.URL, Key: "a2V5"}},
	} {
		s, err := buildcontext.New(ref, opts)
		must(t, err)
		all[ref] = s
	}
	return all
}

// each runs a test for every way, with a server of its own.
func each(t *testing.T, data []byte, test func(t *testing.T, o *object, s buildcontext.Source)) {
	for ref := range onServers(t, serve(t, nil)) {
		name, _, _ := strings.Cut(ref, ":")
		if strings.Contains(ref, "azure") || strings.Contains(ref, "windows") {
			name = "azure"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := serve(t, data)
			for r, s := range onServers(t, o) {
				if r == ref || name == "http" && strings.HasPrefix(r, "http://") {
					test(t, o, s)
				}
			}
		})
	}
}

func fetches(t *testing.T, s buildcontext.Source, want string) {
	t.Helper()
	c, err := fetch(t, s, buildcontext.Means{})
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	if got := list(t, c); got != want {
		t.Errorf("got %q", got)
	}
}

func fails(t *testing.T, s buildcontext.Source, words ...string) error {
	t.Helper()
	_, err := fetch(t, s, buildcontext.Means{})
	if err == nil {
		t.Error("no error")
		return errors.New("none")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
	return err
}

func TestBrokenConnectionsAreGoneOnWith(t *testing.T) {
	each(t, noise(t), func(t *testing.T, o *object, s buildcontext.Source) {
		o.faults = []fault{{cut: 1000}, {status: 503}, {cut: 1 << 20}}
		fetches(t, s, wantNoise)
		from := ""
		for _, r := range o.requests {
			from += r.Header.Get("Range") + r.Header.Get("X-Ms-Range") + " "
		}
		if !strings.HasPrefix(from, " bytes=") || strings.Count(from, "bytes=0-") > 0 || len(o.requests) != 4 {
			t.Errorf("asked %d times, for ranges %q", len(o.requests), from)
		}
	})
}

func TestServerWithoutRanges(t *testing.T) {
	each(t, noise(t), func(t *testing.T, o *object, s buildcontext.Source) {
		o.noRanges = true
		o.faults = []fault{{cut: 2 << 20}}
		fetches(t, s, wantNoise)
	})
}

func TestServerWithoutTags(t *testing.T) {
	each(t, noise(t), func(t *testing.T, o *object, s buildcontext.Source) {
		o.noRanges, o.etag = true, ""
		o.faults = []fault{{cut: 2 << 20}}
		fetches(t, s, wantNoise) // from the beginning
		o.faults = []fault{{cut: 1000}, {cut: 1000}, {cut: 1000}}
		fails(t, s, "no ETag")
	})
}

func TestObjectThatChanges(t *testing.T) {
	other := gzipped(t, pack(t, "other = x"))
	each(t, noise(t), func(t *testing.T, o *object, s buildcontext.Source) {
		o.faults = []fault{{cut: 1 << 20, then: func(o *object) { o.data, o.etag = other, `"two"` }}}
		fetches(t, s, "other = x") // all of the new one, no mixture
		if len(o.requests) < 3 {
			t.Errorf("asked %d times", len(o.requests))
		}
	})
}

func TestStatuses(t *testing.T) {
	for status, tries := range map[int]int{401: 1, 403: 1, 404: 1, 410: 1, 500: 4, 503: 4} {
		each(t, nil, func(t *testing.T, o *object, s buildcontext.Source) {
			for range 20 {
				o.faults = append(o.faults, fault{status: status})
			}
			err := fails(t, s, fmt.Sprint(status))
			se, ok := errors.AsType[*source.StatusError](err)
			if !ok || se.Code != status || errors.Is(err, source.ErrUnavailable) != (status >= 500) {
				t.Errorf("%v", err)
			}
			if len(o.requests) != tries {
				t.Errorf("%d: asked %d times", status, len(o.requests))
			}
		})
	}
}

func TestServersOwnChecksums(t *testing.T) {
	data := gzipped(t, pack(t, "a = x"))
	crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	sha := sha256.Sum256(data)
	sum5 := md5.Sum(data)
	for _, right := range []bool{true, false} {
		each(t, data, func(t *testing.T, o *object, s buildcontext.Source) {
			o.header = http.Header{
				"X-Goog-Hash": {"crc32c=" + base64Of(crc) + ",md5=" + base64Of(sum5[:])}, "X-Amz-Checksum-Sha256": {base64Of(sha[:])},
				"Content-Md5": {base64Of(sum5[:])}, "X-Ms-Version": {"2020-04-08"},
			}
			if right {
				fetches(t, s, "a = x")
				return
			}
			o.data = bytes.Clone(data)
			o.data[4] ^= 1 // gzip's own time stamp: nothing else notices
			err := fails(t, s, "digest mismatch")
			if _, ok := errors.AsType[*source.ChecksumError](err); !ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestChecksum(t *testing.T) {
	data := gzipped(t, pack(t, "a = x"))
	o := serve(t, data)
	for sum, ok := range map[string]bool{fmt.Sprintf("sha256:%x", sha256.Sum256(data)): true, "sha256:" + strings.Repeat("0", 64): false} {
		for _, ref := range []string{o.URL + "/x", "tar://stdin"} {
			s, err := buildcontext.New(ref, buildcontext.Options{Checksum: sum, Stdin: bytes.NewReader(data)})
			must(t, err)
			if ok {
				fetches(t, s, "a = x")
				continue
			}
			err = fails(t, s, "digest mismatch", sum)
			if _, is := errors.AsType[*source.ChecksumError](err); !is {
				t.Errorf("%v", err)
			}
		}
	}
}

// An archive that is cut off is never taken for a whole one.
func TestCutOff(t *testing.T) {
	plain := pack(t, "a = "+strings.Repeat("x", 100), "b = y")
	whole := map[string][]byte{"plain": plain, "gzip": gzipped(t, plain), "zstd": zstandard(t, plain), "xz": xzed(t, plain)}
	if b := bzip2ed(t, plain); b != nil {
		whole["bzip2"] = b
	}
	for name, data := range whole {
		step := max(1, len(data)/40)
		for n := 0; n < len(data); n += step {
			if name == "plain" && n >= len(plain)-1024+512 {
				break // one of the two blocks at the end is enough
			}
			s, err := buildcontext.New("tar://stdin", buildcontext.Options{Stdin: bytes.NewReader(data[:n])})
			must(t, err)
			c, err := fetch(t, s, buildcontext.Means{})
			if name == "xz" && err == nil && list(t, c) == "a = "+strings.Repeat("x", 100)+", b = y" {
				continue // only xz's own index is missing, behind all that counts
			}
			if _, ok := errors.AsType[*buildcontext.ArchiveError](err); !ok {
				t.Errorf("%s, %d of %d bytes: %v", name, n, len(data), err)
			}
		}
	}
}

// Some writers never close their archives. What says how long it is, or has its checksum, came whole all the same.
func TestNoEndMark(t *testing.T) {
	data := pack(t, "a = x")
	data = data[:len(data)-1024]
	file := filepath.Join(t.TempDir(), "a.tar")
	must(t, os.WriteFile(file, data, 0o644))
	o := serve(t, data)
	sources := onServers(t, o)
	for ref, opts := range map[string]buildcontext.Options{
		"tar://" + file: {},
		"tar://stdin":   {Stdin: bytes.NewReader(data), Checksum: digest.FromBytes(data).String()},
	} {
		s, err := buildcontext.New(ref, opts)
		must(t, err)
		sources[ref] = s
	}
	for ref, s := range sources {
		c, err := fetch(t, s, buildcontext.Means{})
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if list(t, c) != "a = x" || len(c.Notices) != 1 || !strings.Contains(c.Notices[0], "no end mark") {
			t.Errorf("%s: %s, notices %q", ref, list(t, c), c.Notices)
		}
	}
	chunked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(data)
		w.(http.Flusher).Flush()
	}))
	t.Cleanup(chunked.Close)
	s, err := buildcontext.New(chunked.URL, buildcontext.Options{})
	must(t, err)
	fails(t, s, "end mark")
}

func TestRedirectsTakeNoCredentials(t *testing.T) {
	data := gzipped(t, pack(t, "a = x"))
	elsewhere := serve(t, data)
	each(t, nil, func(t *testing.T, o *object, s buildcontext.Source) {
		http302 := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/y", http.StatusFound))
		t.Cleanup(http302.Close)
		for _, s := range onServers(t, &object{Server: http302}) {
			_, err := fetch(t, s, buildcontext.Means{Secrets: func(id string) ([]byte, bool) {
				return []byte("hunter2"), id == "HTTP_AUTH_TOKEN_127.0.0.1"
			}})
			if err != nil && !strings.Contains(err.Error(), "302") {
				t.Errorf("%v", err)
			}
		}
	})
	t.Cleanup(func() {
		for _, r := range elsewhere.requests {
			if a := r.Header.Get("Authorization"); a != "" {
				t.Errorf("sent elsewhere: %q", a)
			}
		}
	})
}

func TestHostileArchives(t *testing.T) {
	for _, c := range []struct {
		entries []string
		want    string // what it comes to, or an error
	}{
		{[]string{"../out = x"}, "leads out"},
		{[]string{"a/../../out = x"}, "leads out"},
		{[]string{"/abs = x"}, "abs = x"},
		{[]string{"l -> /etc", "l/passwd = x"}, "etc/, etc/passwd = x, l -> /etc"},
		{[]string{"l -> ../../..", "l/x = y"}, "l -> ../../.., x = y"},
		{[]string{"h => /etc/shadow"}, "etc/shadow"},
		{[]string{"h => ../x"}, "hard link"},
		{[]string{". -> /etc"}, "root can only be"},
		{[]string{"loop -> loop", "loop/x = y"}, "loop"},
		{[]string{".wh.a = x", ".wh..wh..opq = "}, ".wh..wh..opq = , .wh.a = x"},
	} {
		s, err := buildcontext.New("tar://stdin", buildcontext.Options{Stdin: bytes.NewReader(pack(t, c.entries...))})
		must(t, err)
		got, err := fetch(t, s, buildcontext.Means{})
		text := ""
		if err != nil {
			text = err.Error()
		} else {
			text = list(t, got)
		}
		if !strings.Contains(text, c.want) || err == nil && text != c.want {
			t.Errorf("%q: %s", c.entries, text)
		}
	}
	for _, typ := range "346" {
		b := pack(t, "dev")
		b[156] = byte(typ)
		var sum int
		copy(b[148:156], "        ")
		for _, v := range b[:512] {
			sum += int(v)
		}
		copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
		s, err := buildcontext.New("tar://stdin", buildcontext.Options{Stdin: bytes.NewReader(b)})
		must(t, err)
		if err := fails(t, s, "dev"); !errors.Is(err, layer.ErrMalformed) {
			t.Errorf("type %c: %v", typ, err)
		}
	}
}

func TestLimits(t *testing.T) {
	data := pack(t, "a/b/c/d = "+strings.Repeat("x", 2000), "e = f")
	for name, l := range map[string]buildcontext.Limits{
		"bytes": {Limits: layer.Limits{Bytes: 1000}}, "entries": {Limits: layer.Limits{Entries: 1}},
		"path": {Limits: layer.Limits{Path: 6}}, "directories": {Limits: layer.Limits{Depth: 2}},
	} {
		s, err := buildcontext.New("tar://stdin", buildcontext.Options{Limits: l, Stdin: bytes.NewReader(data)})
		must(t, err)
		err = fails(t, s, name, "raise that limit")
		if _, ok := errors.AsType[*layer.LimitError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := buildcontext.New("tar://stdin", buildcontext.Options{Limits: buildcontext.Limits{Limits: layer.Limits{Depth: 3, Entries: 2, Bytes: -1}}, Stdin: bytes.NewReader(data)})
	must(t, err)
	fetches(t, s, "a/, a/b/, a/b/c/, a/b/c/d = 2000 bytes, e = f")
}

// A bomb is stopped long before it is as large as it wants to be.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("decompresses a gibibyte")
	}
	in, out := io.Pipe()
	go func() {
		z, _ := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest))
		head := pack(t, "bomb")[:512]
		copy(head[124:136], "77777777777\x00")
		copy(head[148:156], "        ")
		sum := 0
		for _, v := range head {
			sum += int(v)
		}
		copy(head[148:156], fmt.Sprintf("%06o\x00 ", sum))
		_, err := z.Write(head)
		for b := make([]byte, 1<<20); err == nil; {
			_, err = z.Write(b)
		}
	}()
	s, err := buildcontext.New("tar://stdin", buildcontext.Options{Stdin: in})
	must(t, err)
	fails(t, s, "200 times its compressed size")
	must(t, in.Close())
}

func TestNoArchive(t *testing.T) {
	for _, data := range []string{"", "x", "<html>captive portal</html>", strings.Repeat("no tar at all ", 100), "\x1f\x8bnot gzip", "BZhnot bzip2", "\xfd7zXZ\x00not xz"} {
		s, err := buildcontext.New("tar://stdin", buildcontext.Options{Stdin: strings.NewReader(data)})
		must(t, err)
		err = fails(t, s)
		if _, ok := errors.AsType[*buildcontext.ArchiveError](err); !ok {
			t.Errorf("%.20q: %v", data, err)
		}
	}
	// xz with a dictionary of 4 GiB.
	s, err := buildcontext.New("tar://stdin", buildcontext.Options{Stdin: strings.NewReader("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x28\x00\x00\x00")})
	must(t, err)
	fails(t, s, "128 MiB")
}

func TestDockerfileInThePlaceOfAContext(t *testing.T) {
	s, err := buildcontext.New(serve(t, []byte("FROM scratch\n")).URL+"/Dockerfile", buildcontext.Options{})
	must(t, err)
	fetches(t, s, "Dockerfile = FROM scratch\n")
	s, err = buildcontext.New(serve(t, []byte("<!DOCTYPE html><p>log in")).URL+"/Dockerfile", buildcontext.Options{})
	must(t, err)
	fails(t, s, "no tar archive", "DOCTYPE")
}

func TestDockerfile(t *testing.T) {
	if _, ok := buildcontext.Dockerfile("a/Dockerfile", nil); ok {
		t.Error("a path is taken for something else")
	}
	s, ok := buildcontext.Dockerfile("-", strings.NewReader("FROM a\n"))
	if !ok {
		t.Fatal("- is not taken")
	}
	fetches(t, s, "Dockerfile = FROM a\n")
	s, _ = buildcontext.Dockerfile(serve(t, []byte("FROM b\n")).URL+"/any?sig=hunter2", nil)
	fetches(t, s, "Dockerfile = FROM b\n")
	s, _ = buildcontext.Dockerfile(serve(t, make([]byte, 2<<20)).URL, nil)
	fails(t, s, "more than 1048576 bytes")
}

func TestMissingFile(t *testing.T) {
	s, err := buildcontext.New("tar:///nowhere/x", buildcontext.Options{})
	must(t, err)
	if err := fails(t, s, "/nowhere/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
