// Package store is a directory of images and layers that any number of processes and machines share: content by digest, and small files that say what a name was.
//
// It is an OCI image layout. Whatever is in it is put there the same way: it is
// written aside on the same file system, compared with its digest, synced, and
// renamed into place. So a reader sees all of a file or nothing of it, and a
// writer that dies leaves nothing but a file aside. Nothing that several
// writers change is read by anybody: index.json is written for other tools only.
// Locks save work where the file system has them; nothing needs them.
//
//	oci-layout, index.json         for other tools
//	blobs/sha256/HEX               content, which is verified when it is read
//	refs/HOST/REPOSITORY/_tags/TAG        what a tag was, and when
//	refs/HOST/REPOSITORY/_digests/sha256-HEX  what is kept for its own sake
//	notes/sha256/HEX/KIND          what was worked out about a blob
//	trees/HEX.KIND/fs              a layer unpacked
//	uses/sha256/HEX                when it was last used: the file's time
//	ingest/                        what is being written
//	bad/                           blobs that were not what their names say
//
// Age matters to names only: what a digest names cannot be out of date.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrIntegrity is in the chain of errors about content that is not what its
// name says.
var ErrIntegrity = errors.New("content in the store does not match its digest")

// ErrReadOnly is the error of changes to a store that was opened for reading.
var ErrReadOnly = errors.New("the store is open for reading only")

// ErrNotStore is the error of Open for a directory that holds something else.
var ErrNotStore = errors.New("not a store of images")

// Options says how a store is used. The zero value reads and writes.
type Options struct {
	// ReadOnly never writes, and never makes the directory.
	ReadOnly bool
	// Fault, where set, is asked before every step that changes something: what
	// ("create", "write", "sync", "rename", "mkdir", "remove", …) and the path.
	// Its error is that step's. It is for tests.
	Fault func(step, path string) error
}

// Store is a directory of images. It may be used by several goroutines at once,
// and the directory by any number of Stores.
type Store struct {
	dir      string
	readOnly bool
	fault    func(step, path string) error
	dirMode  fs.FileMode
	fileMode fs.FileMode
}

const layoutFile = "oci-layout"

// Open opens the store in dir and, unless it is only to be read, makes it. A
// directory with other things in it becomes a store only if these are an OCI
// layout's, or kaniko's warmed images.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, readOnly: o.ReadOnly, fault: o.Fault, dirMode: 0o755, fileMode: 0o644}
	var err error
	if s.dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if s.fault == nil {
		s.fault = func(string, string) error { return nil }
	}
	if !o.ReadOnly {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make store: %w", err)
		}
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("open store %s: %w: not a directory", dir, ErrNotStore)
	}
	// Those who share the volume by a group go on doing so in what is made here.
	if fi.Mode()&0o020 != 0 {
		s.dirMode, s.fileMode = 0o775|fi.Mode()&fs.ModeSetgid, 0o664
	}
	if err := s.checkLayout(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

// Path is the store's directory.
func (s *Store) Path() string { return s.dir }

// ReadOnly tells whether the store is open for reading only.
func (s *Store) ReadOnly() bool { return s.readOnly }

// checkLayout compares the version, and writes it where there is none.
func (s *Store) checkLayout() error {
	raw, err := readSmall(filepath.Join(s.dir, layoutFile), maxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.onlyKnown(); err != nil || s.readOnly {
			return err
		}
		return s.writeLayout()
	}
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &v); err != nil || !strings.HasPrefix(v.Version, "1.") {
		if s.readOnly {
			return fmt.Errorf("%w: oci-layout says %.100q", ErrNotStore, raw)
		}
		return s.writeLayout() // a half of it, from a machine that went down
	}
	return nil
}

func (s *Store) writeLayout() error {
	return s.replace(layoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

// onlyKnown refuses a directory that somebody uses for something else.
func (s *Store) onlyKnown() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n := e.Name()
		known := strings.HasPrefix(n, ".") || n == "lost+found" || n == layoutFile || n == "index.json" || strings.HasPrefix(n, "sha256:") ||
			strings.HasPrefix(n, "warmingImage.") || strings.HasPrefix(n, "warmingManifest.")
		for _, d := range own() {
			known = known || n == d
		}
		if !known {
			return fmt.Errorf("%w: there is %s in it; choose an empty directory", ErrNotStore, n)
		}
	}
	return nil
}

// own are the directories of a store.
func own() []string {
	return []string{"blobs", "refs", "notes", "trees", "uses", "ingest", "bad"}
}

// checkDigest lets nothing become part of a path but a digest.
func checkDigest(d v1.Hash) error {
	if _, err := v1.Hasher(d.Algorithm); err != nil {
		return fmt.Errorf("digest %.100q: %w", d.String(), err)
	}
	if _, err := v1.NewHash(d.String()); err != nil {
		return fmt.Errorf("digest %.100q: %w", d.String(), err)
	}
	return nil
}

func blobName(d v1.Hash) string { return filepath.Join("blobs", d.Algorithm, d.Hex) }

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }
