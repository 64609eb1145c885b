package merge_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/merge"
)

// TestEach: an image that stands in an index twice is done once, many wait side by side, and one that fails ends the others.
func TestEach(t *testing.T) {
	var all []v1.Descriptor
	for _, hex := range []string{"a", "b", "a", "c", "b"} {
		all = append(all, v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: hex}})
	}
	var mu sync.Mutex
	var done []string
	var together sync.WaitGroup
	together.Add(3)
	err := merge.Each(t.Context(), all, func(_ context.Context, d v1.Descriptor) error {
		together.Done()
		together.Wait() // for ever, if they came one after another
		mu.Lock()
		defer mu.Unlock()
		done = append(done, d.Digest.Hex)
		return nil
	})
	slices.Sort(done)
	if err != nil || !slices.Equal(done, []string{"a", "b", "c"}) {
		t.Errorf("%v, %v", done, err)
	}
	bad := errors.New("bad")
	err = merge.Each(t.Context(), all, func(ctx context.Context, d v1.Descriptor) error {
		if d.Digest.Hex == "b" {
			return bad
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, bad) {
		t.Error(err)
	}
}
