package testkit

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// TestDownloads fetches side by side, again, and from a second proxy over the same directory.
func TestDownloads(t *testing.T) {
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/missing.deb" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "content of "+r.URL.Path)
	}))
	defer origin.Close()
	dir := t.TempDir()
	get := func(d *Downloads, path string) (int, string) {
		proxy := &url.URL{Scheme: "http", Host: d.Addr}
		client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}
		res, err := client.Get(origin.URL + path)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		return res.StatusCode, string(b)
	}
	// The proxy must not be found for the origin by the test's own environment.
	t.Setenv("NO_PROXY", "127.0.0.1")
	for round, want := range []int64{3, 2} { // the package is there already the second time
		asked.Store(0)
		d, err := ServeDownloads(t.Context(), dir, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if code, body := get(d, "/a.deb"); code != 200 || body != "content of /a.deb" {
					t.Errorf("got %d, %q", code, body)
				}
			})
		}
		all.Wait()
		for range 2 {
			if code, body := get(d, "/InRelease"); code != 200 || body != "content of /InRelease" {
				t.Errorf("got %d, %q", code, body)
			}
		}
		if code, _ := get(d, "/missing.deb"); code != 404 {
			t.Errorf("what is missing: %d", code)
		}
		if got := asked.Load(); got != want {
			t.Errorf("round %d: %d requests reached the origin; %d were needed", round, got, want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
