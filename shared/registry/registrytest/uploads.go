package registrytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// uploads keeps what has come of blobs, as the distribution specification has
// it: an upload that breaks off keeps its beginning.
type uploads struct {
	mu sync.Mutex
	m  map[string][]byte // by repository and id
}

// serve answers requests for uploads, and tells whether it was one.
func (u *uploads) serve(w http.ResponseWriter, req *http.Request, b *blobs) bool {
	repo, id, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/uploads/")
	if !ok {
		return false
	}
	if id == "" {
		id = rand.Text()
		u.mu.Lock()
		u.m[repo+"@"+id] = nil
		u.mu.Unlock()
		u.say(w, repo, id, http.StatusAccepted, 0)
		return true
	}
	u.mu.Lock()
	have, known := u.m[repo+"@"+id]
	u.mu.Unlock()
	if !known {
		fail(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN")
		return true
	}
	switch req.Method {
	case http.MethodGet:
		u.say(w, repo, id, http.StatusNoContent, len(have))
	case http.MethodDelete:
		u.set(repo, id, nil, false)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPatch, http.MethodPut:
		u.take(w, req, b, repo, id, have)
	}
	return true
}

func (u *uploads) take(w http.ResponseWriter, req *http.Request, b *blobs, repo, id string, have []byte) {
	if cr := req.Header.Get("Content-Range"); cr != "" && !strings.HasPrefix(cr, fmt.Sprintf("%d-", len(have))) {
		fail(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID")
		return
	}
	more, err := io.ReadAll(req.Body)
	have = append(have[:len(have):len(have)], more...)
	u.set(repo, id, have, true)
	switch {
	case err != nil:
		fail(w, http.StatusInternalServerError, "UNKNOWN")
		return
	case req.Method == http.MethodPatch:
		u.say(w, repo, id, http.StatusAccepted, len(have))
		return
	}
	want, err := v1.NewHash(req.URL.Query().Get("digest"))
	got, _, _ := v1.SHA256(bytes.NewReader(have))
	u.set(repo, id, nil, false)
	if err != nil || got != want {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID")
		return
	}
	if err := b.Put(context.Background(), repo, want, io.NopCloser(bytes.NewReader(have))); err != nil {
		fail(w, http.StatusInternalServerError, "UNKNOWN")
		return
	}
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+want.String())
	w.Header().Set("Docker-Content-Digest", want.String())
	w.WriteHeader(http.StatusCreated)
}

func (u *uploads) set(repo, id string, content []byte, keep bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !keep {
		delete(u.m, repo+"@"+id)
		return
	}
	u.m[repo+"@"+id] = content
}

func (u *uploads) say(w http.ResponseWriter, repo, id string, status, have int) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(have-1, 0)))
	w.WriteHeader(status)
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"refused"}]}`, code)
}

// cutBody gives the beginning of a body, and then an error, as when the client
// went away.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
