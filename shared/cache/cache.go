// Package cache keeps the results of build steps under keys, in places that can be shared: repositories, OCI layouts, directories.
//
// An entry says which layers a step's result has above its base image, and all
// that is needed to believe it: the key it was kept under, digests, diff IDs.
// Whoever gets an entry has a result without its bytes; those are fetched, and
// compared with their digests, when somebody reads them.
package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/layer"
)

// Key names a step by all that its result depends on: 64 hexadecimal digits.
type Key string

// Tag is the key as the tag of an image.
func (k Key) Tag() string { return tagPrefix + string(k) }

// tagPrefix begins the tags of entries, so that people, and rules that clean
// repositories up, know them.
const tagPrefix = "layers-"

// Entry is the result of a step.
type Entry struct {
	Key Key
	// Step is what a user reads: "[build 2/5] RUN make".
	Step string
	// Platform is what the step was carried out for, as os/arch[/variant].
	Platform string
	// Builder is the version of the program that made the result.
	Builder string
	Created time.Time
	// Took is how long the step itself took.
	Took time.Duration
	// Base are the diff IDs of the base image below the layers.
	Base []v1.Hash
	// Layers are all layers above the base, the first at the bottom. The last are
	// the step's own.
	Layers []Layer
	// Own is how many of the Layers the step itself made.
	Own int

	raw       []byte // as it was got, under rawKey
	rawKey    Key
	signature string
}

// Layer is a layer of an entry.
type Layer struct {
	layer.Blob
	// Content is what tree.Layer's Content gives.
	Content string
}

// Size is how many bytes the step's own layers have as blobs.
func (e *Entry) Size() (n int64) {
	for _, l := range e.Layers[max(0, len(e.Layers)-e.Own):] {
		n += l.Size
	}
	return n
}

// Layers finds entries by their keys and keeps them. It may be used by many
// goroutines and, where the place allows that, by many processes at once.
type Layers interface {
	// Get returns the entry of a key: all of it, or none. ErrMiss says that there
	// is none; ErrDamaged, that what is there is not to be believed. Any other
	// error is of the place. No layer is read.
	Get(ctx context.Context, k Key) (*Entry, error)
	// Put keeps an entry and those of its layers that are not there yet, the entry
	// last: who finds it finds its layers, too. What was kept under the key goes.
	Put(ctx context.Context, e *Entry) error
	// String names the place.
	String() string
}

var (
	// ErrMiss is in the chain of errors of Get for a key that nothing is kept under.
	ErrMiss = errors.New("not in the cache")
	// ErrDamaged is in the chain of errors about entries that are not what they
	// should be: truncated, another step's, not signed.
	ErrDamaged = errors.New("cache entry is not to be used")
)

// LostError is a layer of an entry that cannot be had any more, or is not what the
// entry says. The step must be carried out instead.
type LostError struct {
	Key    Key
	Place  string
	Digest v1.Hash
	Err    error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("layer %s of a cached step in %s: %v", e.Digest, e.Place, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }
