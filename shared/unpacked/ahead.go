package unpacked

import (
	"context"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/snapshot"
)

// Ahead begins to look at the directories of layers that will be asked for, while
// the build is still getting ready to ask.
func (k *Keeper) Ahead(ctx context.Context, layers []v1.Hash) {
	mine := []string{view(false), view(true)}
	for _, d := range layers {
		for _, kind := range k.Store.Trees(d) {
			if !slices.Contains(mine, kind[:min(len(kind), len(mine[0]))]) {
				continue
			}
			if t, err := k.Store.Tree(d, kind); err == nil {
				k.look(ctx, t.Dir)
				_ = t.Close()
			}
		}
	}
}

// look begins to look at a directory, once.
func (k *Keeper) look(ctx context.Context, dir string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ahead == nil {
		k.ahead = make(map[string]func() (snapshot.Fingerprint, error))
	}
	if k.ahead[dir] != nil {
		return
	}
	f := sync.OnceValues(func() (snapshot.Fingerprint, error) { return snapshot.Fingerprints(ctx, dir) })
	k.ahead[dir] = f
	k.looks.Go(func() { _, _ = f() })
}

// fingerprint is that of a directory: what a look ahead found, which counts once, or
// what is there now.
func (k *Keeper) fingerprint(ctx context.Context, dir string) (snapshot.Fingerprint, error) {
	k.mu.Lock()
	f := k.ahead[dir]
	delete(k.ahead, dir)
	k.mu.Unlock()
	if f != nil {
		return f()
	}
	return snapshot.Fingerprints(ctx, dir)
}
