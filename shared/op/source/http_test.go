package source

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestHTTP(t *testing.T) {
	modified := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	var agent string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent = r.UserAgent()
		if r.URL.Path == "/dated" {
			w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
		}
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, "content")
	}))
	defer srv.Close()
	sha := digest.FromString("content")
	for _, c := range []struct {
		r     HTTPRequest
		name  string
		mode  uint32
		mtime time.Time
	}{
		{HTTPRequest{URL: srv.URL + "/dated?x=/y"}, "dated", 0o600, modified},
		{HTTPRequest{URL: srv.URL + "/a/b.txt", Filename: "c", Mode: 0o640, UID: 7, GID: 8, Checksum: sha}, "c", 0o640, time.Unix(0, 0)},
		{HTTPRequest{URL: srv.URL, Checksum: digest.NewDigestFromBytes(digest.SHA512, sum512("content"))}, "download", 0o600, time.Unix(0, 0)},
		{HTTPRequest{URL: srv.URL + "/x", MaxBytes: 7, Header: map[string]string{"User-Agent": "me"}}, "x", 0o600, time.Unix(0, 0)},
	} {
		c.r.Dir = t.TempDir()
		tab, info, err := HTTP(t.Context(), nil, c.r)
		if err != nil {
			t.Errorf("%s: %v", c.r.URL, err)
			continue
		}
		kids := tab.Root.Children()
		if len(kids) != 1 || kids[0].Name != c.name || info.Filename != c.name {
			t.Errorf("%s: %v, %+v", c.r.URL, kids, info)
			continue
		}
		ino := kids[0].Inode
		if ino.Mode != c.mode || !ino.ModTime.Equal(c.mtime) || ino.UID != c.r.UID || ino.GID != c.r.GID || read(t, ino) != "content" {
			t.Errorf("%s: %+v", c.r.URL, ino)
		}
		if info.Digest != sha || info.Size != 7 || info.ETag != `"1"` {
			t.Errorf("%s: %+v", c.r.URL, info)
		}
	}
	if agent != "me" {
		t.Errorf("user agent %q", agent)
	}
}

func sum512(s string) []byte {
	sum := sha512.Sum512([]byte(s))
	return sum[:]
}

func TestHTTPFailures(t *testing.T) {
	var hits atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "plain") }))
	defer plain.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "content") })
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { hits.Add(1); w.WriteHeader(503) })
	mux.Handle("/plain", http.RedirectHandler(plain.URL, http.StatusFound))
	mux.Handle("/meta", http.RedirectHandler("https://169.254.169.254/latest", http.StatusFound))
	mux.Handle("/meta6", http.RedirectHandler("https://[::ffff:169.254.169.254]/latest", http.StatusFound))
	mux.Handle("/ftp", http.RedirectHandler("ftp://example.com/x", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			fmt.Fprint(w, strings.Repeat("x", 1000))
			w.(http.Flusher).Flush()
		}
	})
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	withUser := strings.Replace(srv.URL, "https://", "https://me:secret@", 1)
	for _, c := range []struct {
		r    HTTPRequest
		want string
	}{
		{HTTPRequest{URL: withUser + "/missing"}, "404 Not Found"},
		{HTTPRequest{URL: withUser + "/down"}, "503"},
		{HTTPRequest{URL: withUser + "/file", Checksum: digest.FromString("other")}, "expected checksum sha256:d9298a10"},
		{HTTPRequest{URL: withUser + "/plain"}, "would leave https"},
		{HTTPRequest{URL: withUser + "/meta"}, "link-local"},
		{HTTPRequest{URL: withUser + "/meta6"}, "link-local"},
		{HTTPRequest{URL: withUser + "/ftp"}, "would leave https"},
		{HTTPRequest{URL: withUser + "/loop"}, "tenth"},
		{HTTPRequest{URL: withUser + "/endless", MaxBytes: 500}, "more than the limit"},
		{HTTPRequest{URL: withUser + "/file", MaxBytes: 6}, "more than the limit"},
		{HTTPRequest{URL: withUser + "/file", AuthSecret: "none"}, `no secret "none"`},
		{HTTPRequest{URL: "ftp://me:secret@example.com/x"}, "not an http"},
		{HTTPRequest{URL: "https://me:secret@exa mple/x"}, "not an http"},
		{HTTPRequest{URL: "https:///x"}, "not an http"},
	} {
		c.r.Dir = t.TempDir()
		_, _, err := HTTP(t.Context(), srv.Client(), c.r)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %v", c.r.URL, err)
		}
		if left, _ := os.ReadDir(c.r.Dir); len(left) != 0 {
			t.Errorf("%s: left %v", c.r.URL, left)
		}
	}
	if hits.Load() != attempts {
		t.Errorf("tried %d times", hits.Load())
	}
	_, _, err := HTTP(t.Context(), srv.Client(), HTTPRequest{URL: srv.URL + "/missing", Dir: t.TempDir()})
	if se, ok := errors.AsType[*StatusError](err); !ok || se.Code != 404 {
		t.Errorf("%v is no StatusError", err)
	}
	_, _, err = HTTP(t.Context(), nil, HTTPRequest{URL: srv.URL + "/file", Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
}

func TestHTTPRetries(t *testing.T) {
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			w.WriteHeader(502)
		case 2: // the connection breaks within the body
			w.Header().Set("Content-Length", "7")
			fmt.Fprint(w, "con")
		default:
			fmt.Fprint(w, "content")
		}
	}))
	defer srv.Close()
	tab, _, err := HTTP(t.Context(), nil, HTTPRequest{URL: srv.URL + "/f", Dir: t.TempDir()})
	check(t, err)
	if got := read(t, tab.Lookup("f").Inode); got != "content" {
		t.Errorf("got %q", got)
	}
	n.Store(0)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("enough"))
	defer cancel()
	if _, _, err := HTTP(ctx, nil, HTTPRequest{URL: srv.URL + "/f", Dir: t.TempDir()}); err == nil || err.Error() != "enough" {
		t.Errorf("cancelled: %v", err)
	}
}

func TestHTTPAuthorization(t *testing.T) {
	var got, elsewhere string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { elsewhere = r.Header.Get("Authorization") }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		if r.URL.Path == "/away" {
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		}
	}))
	defer srv.Close()
	secrets := map[string]string{"mine": "Digest x"}
	for _, c := range []struct{ name, value, secret, path, want string }{
		{"HTTP_AUTH_HEADER_127.0.0.1", "Basic abc", "", "/f", "Basic abc"},
		{"HTTP_AUTH_TOKEN_127.0.0.1", "tok", "", "/f", "Bearer tok"},
		{"HTTP_AUTH_TOKEN_127.0.0.1", "tok", "mine", "/f", "Digest x"},
		{"HTTP_AUTH_TOKEN_127.0.0.1", "tok", "", "/away", "Bearer tok"},
	} {
		secrets[c.name] = c.value
		get := func(id string) ([]byte, bool) { v, ok := secrets[id]; return []byte(v), ok }
		_, _, err := HTTP(t.Context(), nil, HTTPRequest{URL: srv.URL + c.path, AuthSecret: c.secret, Secrets: get, Dir: t.TempDir()})
		check(t, err)
		if got != c.want || elsewhere != "" {
			t.Errorf("%+v: sent %q, elsewhere %q", c, got, elsewhere)
		}
	}
}

func TestFileName(t *testing.T) {
	for _, c := range []struct{ url, given, disposition, want string }{
		{"https://h/a/b.tgz?x=1", "", "", "b.tgz"},
		{"https://h/a/b.tgz", "../../etc/passwd", "", "passwd"},
		{"https://h/a/b.tgz", "..", "", "download"},
		{"https://h/", "", "", "download"},
		{"https://h/a%2Fb", "", "", "b"},
		{"https://h/%2e%2e", "", "", "download"},
		{"https://h/a%0ab", "", "", "download"},
		{"https://h/a%00b", "", "", "download"},
		{"https://h/b", "c", `attachment; filename="d"`, "c"},
		{"https://h/b", "", `attachment; filename="d"`, "d"},
		{"https://h/b", "", `attachment; filename="../../d"`, "d"},
		{"https://h/b", "", `attachment; filename=".."`, "download"},
		{"https://h/b", "", `attachment; filename="x/"`, "b"},
		{"https://h/b", "", `attachment; filename*=UTF-8''%2e%2e%2f%c3%bc`, "ü"},
		{"https://h/" + strings.Repeat("n", 300), "", "", "download"},
	} {
		h := http.Header{}
		if c.disposition != "" {
			h.Set("Content-Disposition", c.disposition)
		}
		if got := fileName(c.url, c.given, h); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
