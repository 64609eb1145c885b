package warmed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
)

// Lock says what tags are to be, by digests. It is a file beside Dockerfiles.
type Lock struct {
	Version int `json:"version"`
	// Images are by reference, in full: docker.io/library/alpine:3.
	Images map[string]Locked `json:"images"`
}

// Locked is what a tag is to be: an index or a manifest.
type Locked struct {
	Digest v1.Hash `json:"digest"`
}

// NewLock is a lock of nothing.
func NewLock() *Lock { return &Lock{Version: 1, Images: make(map[string]Locked)} }

// DriftError says that what is asked for is not what was locked.
type DriftError struct {
	Ref string
	Why string
}

func (e *DriftError) Error() string {
	return fmt.Sprintf("%s: %s (warmer lock writes the lock file anew)", e.Ref, e.Why)
}

// ReadLock reads a lock file.
func ReadLock(path string) (*Lock, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lock file: %w", err)
	}
	l := NewLock()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("read lock file %s: %w", path, err)
	}
	if l.Version != 1 {
		return nil, fmt.Errorf("read lock file %s: version %d; this release knows version 1", path, l.Version)
	}
	for ref, locked := range l.Images {
		full, err := store.Canonical(ref)
		if err == nil && full != ref {
			err = fmt.Errorf("%s is to be written in full: %s", ref, full)
		}
		if err == nil && locked.Digest.Hex == "" {
			err = fmt.Errorf("%s has no digest", ref)
		}
		if err != nil {
			return nil, fmt.Errorf("read lock file %s: %w", path, err)
		}
	}
	return l, nil
}

// Bytes is the lock as a file: the same for the same images.
func (l *Lock) Bytes() ([]byte, error) {
	b, err := json.MarshalIndent(l, "", "  ")
	return append(b, '\n'), err
}

// Write writes the lock file, whole or not at all.
func (l *Lock) Write(path string) (err error) {
	b, err := l.Bytes()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write lock file: %w", err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(fs.FileMode(0o644)), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Pinned is a Resolver that resolves tags by a lock. What the lock does not have
// is a *DriftError.
type Pinned struct {
	Lock *Lock
	Next Resolver
}

// Image resolves a reference as the lock has it.
func (p *Pinned) Image(ctx context.Context, ref string, platform *v1.Platform) (*registry.Image, error) {
	name, digest, byDigest := strings.Cut(ref, "@")
	full, err := store.Canonical(name)
	if err != nil {
		return nil, err
	}
	locked, ok := p.Lock.Images[full]
	switch {
	case byDigest && (!ok || locked.Digest.String() == digest):
		return p.Next.Image(ctx, ref, platform)
	case byDigest:
		return nil, &DriftError{full, fmt.Sprintf("it is %s here, and %s in the lock file", digest, locked.Digest)}
	case !ok:
		return nil, &DriftError{full, "the lock file does not have it"}
	}
	return p.Next.Image(ctx, full+"@"+locked.Digest.String(), platform)
}

// Drift says what differs between a lock file and what is so now.
func Drift(old, now *Lock) (errs []error) {
	for _, ref := range slices.Sorted(maps.Keys(now.Images)) {
		was, ok := old.Images[ref]
		switch is := now.Images[ref]; {
		case !ok:
			errs = append(errs, &DriftError{ref, "the lock file does not have it"})
		case was != is:
			errs = append(errs, &DriftError{ref, fmt.Sprintf("it is %s now, and %s in the lock file", is.Digest, was.Digest)})
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(old.Images)) {
		if _, ok := now.Images[ref]; !ok {
			errs = append(errs, &DriftError{ref, "nothing asks for it any more"})
		}
	}
	return errs
}
