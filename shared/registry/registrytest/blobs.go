package registrytest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobs keeps blobs by repository, as a real registry seems to.
type blobs struct {
	mu sync.Mutex
	m  map[string][]byte
}

func newBlobs() *blobs { return &blobs{m: make(map[string][]byte)} }

// key: go-containerregistry says "repo/blobs" for the repository when an upload ends.
func key(repo string, h v1.Hash) string { return strings.TrimSuffix(repo, "/blobs") + "@" + h.String() }

func (b *blobs) get(k string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.m[k]; ok {
		return c, nil
	}
	return nil, registry.ErrNotFound
}

// Get implements registry.BlobHandler.
func (b *blobs) Get(_ context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	c, err := b.get(key(repo, h))
	if err != nil {
		return nil, err
	}
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(c), io.NopCloser(nil)}, nil
}

// Stat implements registry.BlobStatHandler.
func (b *blobs) Stat(_ context.Context, repo string, h v1.Hash) (int64, error) {
	c, err := b.get(key(repo, h))
	return int64(len(c)), err
}

// Put implements registry.BlobPutHandler.
func (b *blobs) Put(_ context.Context, repo string, h v1.Hash, rc io.ReadCloser) error {
	c, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[key(repo, h)] = c
	return nil
}

// serve answers mounts, and leaves the rest to next.
func (b *blobs) serve(w http.ResponseWriter, req *http.Request, next http.Handler) {
	q := req.URL.Query()
	h, err := v1.NewHash(q.Get("mount"))
	repo, isUpload := strings.CutSuffix(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/uploads/")
	if req.Method != http.MethodPost || err != nil || !isUpload {
		next.ServeHTTP(w, req)
		return
	}
	c, err := b.get(key(q.Get("from"), h))
	if err != nil {
		next.ServeHTTP(w, req)
		return
	}
	b.mu.Lock()
	b.m[key(repo, h)] = c
	b.mu.Unlock()
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+h.String())
	w.Header().Set("Docker-Content-Digest", h.String())
	w.WriteHeader(http.StatusCreated)
}

// Blob gives a blob's bytes, or nil.
func (s *Server) Blob(repo string, h v1.Hash) []byte {
	c, _ := s.blobs.get(key(repo, h))
	return c
}
