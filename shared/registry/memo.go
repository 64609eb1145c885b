package registry

import (
	"context"
	"errors"
	"sync"
)

// memo remembers answers. Equal questions are asked once; who asks meanwhile
// waits for that answer. Errors are shared with those who wait, and forgotten.
type memo[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*answer[V]
}

type answer[V any] struct {
	done chan struct{}
	v    V
	err  error
}

func (m *memo[K, V]) do(ctx context.Context, k K, ask func() (V, error)) (V, error) {
	for {
		a, first := m.enter(k)
		if first {
			return m.fill(k, a, ask)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			var zero V
			return zero, context.Cause(ctx)
		}
		// When the one who asked was cancelled, that is his affair, not ours.
		if a.err == nil || !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, context.DeadlineExceeded) {
			return a.v, a.err
		}
	}
}

func (m *memo[K, V]) enter(k K) (a *answer[V], first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := m.m[k]; ok {
		return a, false
	}
	if m.m == nil {
		m.m = make(map[K]*answer[V])
	}
	a = &answer[V]{done: make(chan struct{}), err: errAbandoned}
	m.m[k] = a
	return a, true
}

func (m *memo[K, V]) fill(k K, a *answer[V], ask func() (V, error)) (V, error) {
	// Deferred, so that a panic in ask does not leave the others waiting.
	defer func() {
		if a.err != nil {
			m.mu.Lock()
			delete(m.m, k)
			m.mu.Unlock()
		}
		close(a.done)
	}()
	a.v, a.err = ask()
	return a.v, a.err
}

var errAbandoned = errors.New("the request was abandoned")
