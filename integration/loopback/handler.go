// Package loopback is a registry on disk for tests, benchmarks and the demo: it speaks enough of the OCI
// distribution protocol for every builder that is compared here, keeps nothing in memory, and listens on the
// loopback interface only.
package loopback

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

// maxManifest is what the distribution specification asks a registry to take at least.
const maxManifest = 4 << 20

// Handler serves a store. Bases, where given, is a second one that is only read: what the store lacks is looked for
// there, so that a test's registry has the base images without a copy.
type Handler struct {
	Store *Store
	Bases *Store

	open sync.Map // id → *upload
}

func (h *Handler) stores() []*Store {
	if h.Bases == nil {
		return []*Store{h.Store}
	}
	return []*Store{h.Store, h.Bases}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	if path == "" {
		fmt.Fprint(w, "{}")
		return
	}
	if err := h.route(w, r, path); err != nil {
		writeError(w, err)
	}
}

func (h *Handler) route(w http.ResponseWriter, r *http.Request, path string) error {
	if repo, id, ok := cutLast(path, "/blobs/uploads/"); ok {
		return h.upload(w, r, repo, id)
	}
	if repo, ok := strings.CutSuffix(path, "/blobs/uploads"); ok {
		return h.upload(w, r, repo, "")
	}
	if repo, digest, ok := cutLast(path, "/blobs/"); ok {
		return h.blob(w, r, repo, digest)
	}
	if repo, ref, ok := cutLast(path, "/manifests/"); ok {
		return h.manifest(w, r, repo, ref)
	}
	if repo, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return h.tags(w, repo)
	}
	return fs.ErrNotExist
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

func writeError(w http.ResponseWriter, err error) {
	code, name := http.StatusInternalServerError, "UNKNOWN"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code, name = http.StatusNotFound, "NAME_UNKNOWN"
	case errors.Is(err, errInvalid):
		code, name = http.StatusBadRequest, "DIGEST_INVALID"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": name, "message": err.Error()}}})
}

func (h *Handler) tags(w http.ResponseWriter, repo string) error {
	var all []string
	for _, s := range h.stores() {
		tags, err := s.Tags(repo)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		all = append(all, tags...)
	}
	if len(all) == 0 {
		return fs.ErrNotExist
	}
	return json.NewEncoder(w).Encode(map[string]any{"name": repo, "tags": all})
}

func (h *Handler) find(repo, digest string) (f *os.File, err error) {
	for _, s := range h.stores() {
		if f, err = s.Open(repo, digest); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return f, err
}

func (h *Handler) blob(w http.ResponseWriter, r *http.Request, repo, digest string) error {
	f, err := h.find(repo, digest)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	return serve(w, r, f, digest)
}

func serve(w http.ResponseWriter, r *http.Request, f *os.File, digest string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

func (h *Handler) manifest(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	if r.Method == http.MethodPut {
		return h.putManifest(w, r, repo, ref)
	}
	var digest, mediaType string
	var err error
	for _, s := range h.stores() {
		if digest, mediaType, err = s.Resolve(repo, ref); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	f, err := h.find(repo, digest)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", mediaType)
	return serve(w, r, f, digest)
}

func (h *Handler) putManifest(w http.ResponseWriter, r *http.Request, repo, ref string) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		return err
	}
	if len(b) > maxManifest {
		return fmt.Errorf("manifest above %d bytes: %w", maxManifest, errInvalid)
	}
	digest := digestOf(b)
	if strings.Contains(ref, ":") && ref != digest {
		return fmt.Errorf("manifest has digest %s, not %s: %w", digest, ref, errInvalid)
	}
	if err := h.complete(repo, b); err != nil {
		return err
	}
	if err := h.Store.Put(strings.NewReader(string(b)), digest); err != nil {
		return err
	}
	mediaType := r.Header.Get("Content-Type")
	if err := h.Store.Link(repo, digest, mediaType); err != nil {
		return err
	}
	if !strings.Contains(ref, ":") {
		if err := h.Store.Tag(repo, ref, digest); err != nil {
			return err
		}
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Location", "/v2/"+repo+"/manifests/"+digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// complete refuses a manifest whose parts are missing, as real registries do: it is what catches a builder that
// pushes the manifest too early.
func (h *Handler) complete(repo string, manifest []byte) error {
	type descriptor struct {
		Digest string   `json:"digest"`
		URLs   []string `json:"urls"`
	}
	var m struct {
		Config    *descriptor  `json:"config"`
		Layers    []descriptor `json:"layers"`
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		return fmt.Errorf("manifest: %w: %w", err, errInvalid)
	}
	parts := append(m.Layers, m.Manifests...)
	if m.Config != nil {
		parts = append(parts, *m.Config)
	}
	for _, p := range parts {
		f, err := h.find(repo, p.Digest)
		if err != nil {
			return fmt.Errorf("manifest names %s, which %s lacks: %w", p.Digest, repo, errInvalid)
		}
		f.Close()
	}
	return nil
}

// upload takes a blob in one request, in pieces, or from another repository.
func (h *Handler) upload(w http.ResponseWriter, r *http.Request, repo, id string) error {
	query := r.URL.Query()
	if r.Method != http.MethodPost {
		return h.piece(w, r, repo, id)
	}
	switch {
	case query.Has("mount"):
		return h.mount(w, repo, query.Get("from"), query.Get("mount"))
	case query.Has("digest"):
		if err := h.Store.Put(r.Body, query.Get("digest")); err != nil {
			return err
		}
		return h.finish(w, repo, query.Get("digest"))
	}
	return h.begin(w, repo)
}

func (h *Handler) begin(w http.ResponseWriter, repo string) error {
	u, err := h.Store.begin()
	if err != nil {
		return err
	}
	id := rand.Text()
	h.open.Store(id, u)
	return h.accepted(w, repo, id, u)
}

func (h *Handler) piece(w http.ResponseWriter, r *http.Request, repo, id string) error {
	v, ok := h.open.Load(id)
	if !ok {
		return fs.ErrNotExist
	}
	u := v.(*upload)
	if r.Method == http.MethodGet {
		return h.accepted(w, repo, id, u)
	}
	if r.Method == http.MethodDelete {
		h.open.Delete(id)
		w.WriteHeader(http.StatusNoContent)
		return u.cancel()
	}
	if _, err := io.Copy(u, r.Body); err != nil {
		return err
	}
	if r.Method == http.MethodPatch {
		return h.accepted(w, repo, id, u)
	}
	h.open.Delete(id)
	digest := r.URL.Query().Get("digest")
	if err := u.commit(digest); err != nil {
		return err
	}
	return h.finish(w, repo, digest)
}

func (h *Handler) accepted(w http.ResponseWriter, repo, id string, u *upload) error {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
	w.Header().Set("Range", "0-"+strconv.FormatInt(max(u.size-1, 0), 10))
	w.Header().Set("Docker-Upload-Uuid", id)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// finish shows a blob that is in the store now.
func (h *Handler) finish(w http.ResponseWriter, repo, digest string) error {
	if err := h.Store.Link(repo, digest, ""); err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// mount shows a blob of another repository in this one. A blob of the bases is linked into the store first: a hard
// link where the file system allows, for nothing ever writes to a blob.
func (h *Handler) mount(w http.ResponseWriter, repo, from, digest string) error {
	f, err := h.find(from, digest)
	if err != nil {
		return h.begin(w, repo)
	}
	defer f.Close()
	path, err := h.Store.blobPath(digest)
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := h.Store.Put(f, digest); err != nil {
			return err
		}
	}
	return h.finish(w, repo, digest)
}
