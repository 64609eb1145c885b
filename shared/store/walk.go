package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	maxDocument = 32 << 20 // of an index or a manifest, as package registry has it
	deepest     = 4        // indexes in indexes
)

// links are the parts of an index or a manifest that lead on.
type links struct {
	MediaType types.MediaType `json:"mediaType,omitempty"`
	Manifests []v1.Descriptor `json:"manifests"`
	Config    *v1.Descriptor  `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
}

func (s *Store) links(d v1.Hash) (*links, error) {
	b, err := s.Read(v1.Descriptor{Digest: d}, maxDocument)
	if err != nil {
		return nil, err
	}
	var l links
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", d, err)
	}
	return &l, nil
}

// reach lists all that an image has, whether it is there or not: the root first.
func (s *Store) reach(root v1.Hash) []v1.Hash {
	seen := make(map[v1.Hash]bool)
	var out []v1.Hash
	add := func(d v1.Hash) bool {
		if seen[d] || checkDigest(d) != nil {
			return false
		}
		seen[d] = true
		out = append(out, d)
		return true
	}
	var visit func(d v1.Hash, depth int)
	visit = func(d v1.Hash, depth int) {
		if !add(d) || depth == 0 {
			return
		}
		l, err := s.links(d)
		if err != nil {
			return // not here, or damaged: it leads nowhere until it is fetched again
		}
		for _, m := range l.Manifests {
			visit(m.Digest, depth-1)
		}
		if l.Config != nil {
			add(l.Config.Digest)
		}
		for _, b := range l.Layers {
			add(b.Digest)
		}
	}
	visit(root, deepest)
	return out
}

// Parts lists the descriptors of what an image has, the root first, whether it
// is there or not. Of an index these are the manifests that are here, with their
// parts.
func (s *Store) Parts(root v1.Descriptor) ([]v1.Descriptor, error) { return s.parts(root, deepest) }

func (s *Store) parts(root v1.Descriptor, depth int) ([]v1.Descriptor, error) {
	if depth == 0 {
		return nil, fmt.Errorf("manifest %s: indexes in indexes, more than %d deep", root.Digest, deepest)
	}
	l, err := s.links(root.Digest)
	if err != nil {
		return nil, err
	}
	out := []v1.Descriptor{root}
	for _, m := range l.Manifests {
		if !s.Has(m) {
			continue
		}
		below, err := s.parts(m, depth-1)
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	if l.Config != nil {
		out = append(out, *l.Config)
	}
	return append(out, l.Layers...), nil
}

// eachBlob calls fn for every blob.
func (s *Store) eachBlob(fn func(d v1.Hash, fi fs.FileInfo) error) error {
	algorithms, err := os.ReadDir(s.path("blobs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, a := range algorithms {
		files, err := os.ReadDir(s.path(filepath.Join("blobs", a.Name())))
		if err != nil {
			return err
		}
		for _, f := range files {
			d := v1.Hash{Algorithm: a.Name(), Hex: f.Name()}
			fi, err := f.Info()
			if err != nil || strings.HasPrefix(f.Name(), ".nfs") || checkDigest(d) != nil {
				continue // gone, or none of ours
			}
			if err := fn(d, fi); err != nil {
				return err
			}
		}
	}
	return nil
}

// Blobs lists the blobs with their sizes.
func (s *Store) Blobs() ([]v1.Descriptor, error) {
	var out []v1.Descriptor
	err := s.eachBlob(func(d v1.Hash, fi fs.FileInfo) error {
		out = append(out, v1.Descriptor{Digest: d, Size: fi.Size()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the blobs of store %s: %w", s.dir, err)
	}
	return out, nil
}

// cost is how many bytes a blob takes with all that is about it.
func (s *Store) cost(d v1.Hash) (n int64) {
	if fi, err := os.Lstat(s.path(blobName(d))); err == nil {
		n = fi.Size()
	}
	for _, dir := range []string{filepath.Join("notes", d.Algorithm, d.Hex), filepath.Join("trees", d.Hex+".*")} {
		found, _ := filepath.Glob(s.path(dir))
		for _, p := range found {
			n += diskUsage(p)
		}
	}
	return n
}

// diskUsage is what the files below a path take on the disk.
func diskUsage(p string) (n int64) {
	_ = filepath.WalkDir(p, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be seen counts for nothing
		}
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

// WriteIndex writes index.json, by which other tools find the images. It is made
// of the names; nothing of ours reads it. Of two who write it at once, one leaves
// out what the other has just named, until the next time.
func (s *Store) WriteIndex() error {
	refs, err := s.Refs()
	if err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, r := range refs {
		d := v1.Descriptor{MediaType: r.Root.MediaType, Digest: r.Root.Digest, Size: r.Root.Size}
		if p, err := parseRef(r.Ref); err == nil && p.digest == "" {
			d.Annotations = map[string]string{
				"org.opencontainers.image.ref.name": r.Ref,
				"io.containerd.image.name":          r.Ref,
			}
		}
		index.Manifests = append(index.Manifests, d)
	}
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return s.replace("index.json", b)
}
