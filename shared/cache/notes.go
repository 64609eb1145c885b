package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/store"
)

// Notes keeps what one build has to tell the next one of its kind.
type Notes interface {
	// Note returns it; ErrMiss where there is none.
	Note(ctx context.Context) ([]byte, error)
	// SetNote replaces it.
	SetNote(ctx context.Context, note []byte) error
}

// notePrefix begins the tags of notes.
const notePrefix = "note-"

const annotationNote = "build.strake.cache.note"

// NoteIn keeps a note in a place of entries; nil for a place that can't. The name
// says of which kind the build is: letters, digits and dashes.
func NoteIn(l Layers, name string) Notes {
	switch l := l.(type) {
	case *Repository:
		return &repositoryNote{l.Repository, notePrefix + name}
	case *Directory:
		return &directoryNote{l.Store, names + ":" + notePrefix + name}
	}
	return nil
}

type directoryNote struct {
	store *store.Store
	ref   string
}

func (n *directoryNote) Note(context.Context) ([]byte, error) {
	rec, err := n.store.Ref(n.ref)
	if err == nil {
		var raw []byte
		if raw, err = n.store.Read(rec.Root, maxManifest); err == nil {
			return noteOf(raw)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMiss
	}
	return nil, err
}

func (n *directoryNote) SetNote(ctx context.Context, note []byte) error {
	img, err := noteImage(note)
	if err != nil {
		return err
	}
	root, err := putImage(ctx, n.store, img)
	if err != nil {
		return err
	}
	return n.store.SetRef(store.Record{Ref: n.ref, Root: root, ResolvedAt: time.Now()})
}

type repositoryNote struct {
	repo *registry.Repository
	tag  string
}

func (n *repositoryNote) Note(ctx context.Context) ([]byte, error) {
	doc, err := n.repo.Manifest(ctx, n.tag)
	if errors.Is(err, registry.ErrNotFound) {
		return nil, ErrMiss
	}
	if err != nil {
		return nil, err
	}
	return noteOf(doc.Raw)
}

func (n *repositoryNote) SetNote(ctx context.Context, note []byte) error {
	img, err := noteImage(note)
	if err != nil {
		return err
	}
	p, err := n.repo.Pusher(n.tag)
	if err != nil {
		return err
	}
	_, err = p.Push(ctx, img)
	return err
}

// noteImage is an image without layers that carries a note.
func noteImage(note []byte) (v1.Image, error) {
	conf := []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}`)
	digest, size, err := v1.SHA256(bytes.NewReader(conf))
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{},
		Config:      v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: digest, Size: size},
		Annotations: map[string]string{annotationNote: string(note)},
	})
	if err != nil {
		return nil, fmt.Errorf("write note: %w", err)
	}
	return partial.CompressedToImage(&entryImage{config: conf, manifest: raw})
}

func noteOf(manifest []byte) ([]byte, error) {
	var m v1.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	note, ok := m.Annotations[annotationNote]
	if !ok {
		return nil, fmt.Errorf("%w: it is no note", ErrDamaged)
	}
	return []byte(note), nil
}
