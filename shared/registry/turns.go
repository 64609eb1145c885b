package registry

import (
	"context"
	"sync"
)

// turns lets one at a time do something about a blob at a registry: whoever sends
// it into a second repository meanwhile waits, and has it mounted. The zero value
// is ready.
type turns struct {
	mu sync.Mutex
	m  map[seenKey]chan struct{}
}

// take waits for the turn, which release ends.
func (t *turns) take(ctx context.Context, k seenKey) (release func(), err error) {
	for {
		t.mu.Lock()
		busy, ok := t.m[k]
		if !ok {
			mine := make(chan struct{})
			if t.m == nil {
				t.m = make(map[seenKey]chan struct{})
			}
			t.m[k] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.m, k)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
