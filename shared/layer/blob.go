package layer

import (
	"context"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Blob is a layer as registries keep it: a tar, usually compressed.
type Blob struct {
	Digest    v1.Hash // of the bytes that Open gives
	Size      int64   // of the bytes that Open gives; 0 is allowed where it is not known before Open
	DiffID    v1.Hash // of the uncompressed tar
	MediaType types.MediaType
	// Created is when the layer was made; zero for a base image's layer.
	Created time.Time
	// Open reads the blob. A reader that meets other bytes than Digest
	// promises fails at its end.
	Open func() (io.ReadCloser, error)
	// OpenContext is Open for a reader that is cancelled with ctx; nil where
	// reading is never long.
	OpenContext func(ctx context.Context) (io.ReadCloser, error)
	// Repository is where the blob came from ("registry.example/repo"), for
	// cross-repository mounts; empty when it was made here.
	Repository string
	// Descriptor is the descriptor of a base image's layer, kept as it was
	// (annotations, foreign URLs); nil for a layer made here.
	Descriptor *v1.Descriptor
}
