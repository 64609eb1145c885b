package buildcontext_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/source"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack writes entries given as "name", "name/", "name = text", "name -> symlink
// target", "name => hard link target".
func pack(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o644, ModTime: time.Unix(1_500_000_000, 0), Typeflag: tar.TypeReg, Uid: 1000, Gid: 1000}
		text := ""
		if name, s, ok := strings.Cut(e, " = "); ok {
			h.Name, text = name, s
		} else if name, s, ok := strings.Cut(e, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = name, s, tar.TypeSymlink
		} else if name, s, ok := strings.Cut(e, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = name, s, tar.TypeLink
		} else if strings.HasSuffix(e, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		h.Size = int64(len(text))
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, text)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func squeeze(t testing.TB, open func(io.Writer) (io.WriteCloser, error), data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	return squeeze(t, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }, data)
}

func zstandard(t testing.TB, data []byte) []byte {
	return squeeze(t, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }, data)
}

func xzed(t testing.TB, data []byte) []byte {
	return squeeze(t, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }, data)
}

// list describes a context, whichever way it is here, in the words of pack.
func list(t testing.TB, c *buildcontext.Context) string {
	t.Helper()
	table, err := c.Table, error(nil)
	if table == nil {
		table, err = source.Local(t.Context(), c.Dir, source.Filter{})
	} else {
		table, err = source.Select(t.Context(), table, source.Filter{})
	}
	must(t, err)
	var lines []string
	first := make(map[*layer.Inode]string)
	_ = table.Walk(func(p string, n *layer.Node) error {
		if p == "" {
			return nil
		}
		if n.Inode.UID != 0 || n.Inode.GID != 0 {
			t.Errorf("%s belongs to %d:%d", p, n.Inode.UID, n.Inode.GID)
		}
		switch {
		case n.IsDir():
			p += "/"
		case n.Inode.Kind == layer.Symlink:
			p += " -> " + n.Inode.Target
		case first[n.Inode] != "":
			p += " => " + first[n.Inode]
		default:
			first[n.Inode] = p
			p += " = " + read(t, n.Inode)
		}
		lines = append(lines, p)
		return nil
	})
	return strings.Join(lines, ", ")
}

func read(t testing.TB, i *layer.Inode) string {
	t.Helper()
	if i.Content == nil {
		return ""
	}
	r, err := i.Content.Open()
	must(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	must(t, err)
	if len(data) > 100 {
		return fmt.Sprintf("%d bytes", len(data))
	}
	return string(data)
}

// fetch fetches into a new directory, in which it must leave nothing that has a name.
func fetch(t testing.TB, s buildcontext.Source, m buildcontext.Means) (*buildcontext.Context, error) {
	t.Helper()
	if m.Dir == "" {
		m.Dir = t.TempDir()
	}
	c, err := s.Fetch(t.Context(), m)
	if err == nil && c.Table != nil {
		return c, nil
	}
	if names, _ := os.ReadDir(m.Dir); len(names) > 0 && err == nil {
		t.Errorf("left behind: %v", names)
	}
	return c, err
}

// object is one object on a web server, with faults to come.
type object struct {
	data     []byte
	etag     string
	noRanges bool
	header   http.Header
	// admit, where set, looks at a request first; false is 403.
	admit func(*http.Request) bool

	mu       sync.Mutex
	faults   []fault // of the next requests, one each
	requests []*http.Request
	*httptest.Server
}

type fault struct {
	status int // instead of the object
	cut    int // break the connection off after so many bytes
	then   func(*object)
}

func serve(t testing.TB, data []byte) *object {
	t.Helper()
	o := &object{data: data, etag: `"one"`, header: make(http.Header)}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *object) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, r)
	var f fault
	if len(o.faults) > 0 {
		f, o.faults = o.faults[0], o.faults[1:]
	}
	if f.then != nil {
		defer f.then(o)
	}
	switch {
	case o.admit != nil && !o.admit(r):
		w.WriteHeader(http.StatusForbidden)
		return
	case f.status != 0:
		w.WriteHeader(f.status)
		return
	}
	for k, v := range o.header {
		w.Header()[k] = v
	}
	if o.etag != "" {
		w.Header().Set("ETag", o.etag)
	}
	r = r.Clone(r.Context())
	if v := r.Header.Get("X-Ms-Range"); v != "" { // Azure's
		r.Header.Set("Range", v)
	}
	if o.noRanges {
		r.Header.Del("Range")
	}
	out := w
	if f.cut > 0 {
		out = &cutter{ResponseWriter: w, left: f.cut}
	}
	if o.noRanges && o.etag == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(o.data)))
		_, _ = out.Write(o.data)
		return
	}
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(o.data))
}

// cutter resets the connection after some bytes of the body.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	h, ok := c.ResponseWriter.(http.Hijacker)
	if !ok {
		panic("no hijacker")
	}
	c.ResponseWriter.(http.Flusher).Flush()
	conn, _, err := h.Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	return 0, io.ErrClosedPipe
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func layerCheckout(t testing.TB, table *layer.Table, dir string) error {
	t.Helper()
	return layer.Checkout(t.Context(), table, dir, layer.CheckoutOptions{})
}
