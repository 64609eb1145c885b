package testkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Downloads is an HTTP proxy that keeps what went through it, so that the same packages are not fetched for every build
// of a test run: Debian packages for good, for a name stands for one content; everything else as long as it runs.
type Downloads struct {
	// Addr is host:port.
	Addr string

	kept, fresh string // directories
	http        *http.Server
	done        chan error
	mu          sync.Mutex
	busy        map[string]*sync.Mutex // by URL: what is asked for twice at once is fetched once
}

// ServeDownloads starts the proxy on a loopback port. dir keeps packages, temporary the rest. Close ends it.
func ServeDownloads(ctx context.Context, dir, temporary string) (*Downloads, error) {
	for _, d := range []string{dir, temporary} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the proxy for downloads: %w", err)
	}
	d := &Downloads{Addr: l.Addr().String(), kept: dir, fresh: temporary, done: make(chan error, 1), busy: map[string]*sync.Mutex{}}
	d.http = &http.Server{Handler: d, ReadHeaderTimeout: time.Minute}
	go func() { d.done <- d.http.Serve(l) }()
	return d, nil
}

// Close ends the proxy at once.
func (d *Downloads) Close() error {
	err := d.http.Close()
	if served := <-d.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Args hands the proxy to the steps of a build. Only plain HTTP goes through it; the machine's own proxies stay for TLS.
func (d *Downloads) Args() []string {
	return append(ProxyArgs(), "--build-arg", "http_proxy=http://"+d.Addr, "--build-arg", "HTTP_PROXY=http://"+d.Addr)
}

// ServeHTTP answers a request for an absolute URL.
func (d *Downloads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Scheme != "http" {
		http.Error(w, "only plain HTTP goes through this proxy", http.StatusNotImplemented)
		return
	}
	url := r.URL.String()
	lock := d.lock(url)
	lock.Lock()
	defer lock.Unlock()
	name := d.file(url)
	if _, err := os.Stat(name); err == nil {
		http.ServeFile(w, r, name)
		return
	}
	status, err := fetch(r.Context(), url, name)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	case status != http.StatusOK:
		http.Error(w, url, status)
	default:
		http.ServeFile(w, r, name)
	}
}

func (d *Downloads) lock(url string) *sync.Mutex {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[url] == nil {
		d.busy[url] = &sync.Mutex{}
	}
	return d.busy[url]
}

func (d *Downloads) file(url string) string {
	sum := sha256.Sum256([]byte(url))
	dir := d.fresh
	if strings.HasSuffix(url, ".deb") {
		dir = d.kept
	}
	return filepath.Join(dir, hex.EncodeToString(sum[:16]))
}

// fetch writes what url has into a file, if it is there at all.
func fetch(ctx context.Context, url, name string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), "part-")
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(f, res.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()))
	}
	return http.StatusOK, os.Rename(f.Name(), name)
}
