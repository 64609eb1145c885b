package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Several looks in many places, all at once; the first in order that has an entry
// counts. Nothing is put.
type Several []Layers

// String names the places.
func (s Several) String() string {
	names := make([]string, len(s))
	for i, l := range s {
		names[i] = l.String()
	}
	return strings.Join(names, ", ")
}

// Get asks all places.
func (s Several) Get(ctx context.Context, k Key) (*Entry, error) {
	entries, errs := make([]*Entry, len(s)), make([]error, len(s))
	var wg sync.WaitGroup
	for i, l := range s {
		wg.Go(func() { entries[i], errs[i] = l.Get(ctx, k) })
	}
	wg.Wait()
	for _, e := range entries {
		if e != nil {
			return e, nil
		}
	}
	return nil, worst(s, errs)
}

// worst is what should be told of several failures: anything but a miss.
func worst(s Several, errs []error) error {
	var told []error
	for i, err := range errs {
		if err != nil && !errors.Is(err, ErrMiss) {
			told = append(told, fmt.Errorf("%s: %w", s[i], err))
		}
	}
	if len(told) == 0 {
		return ErrMiss
	}
	return errors.Join(told...)
}

// Put is not what Several is for.
func (s Several) Put(context.Context, *Entry) error { return errors.ErrUnsupported }

// Both puts into a near and a far place.
type Both struct{ Near, Far Layers }

// String names the places.
func (b Both) String() string { return b.Near.String() + ", " + b.Far.String() }

// Get is not what Both is for: Front looks.
func (b Both) Get(ctx context.Context, k Key) (*Entry, error) {
	return Several{b.Near, b.Far}.Get(ctx, k)
}

// Put puts into both, whatever becomes of the other.
func (b Both) Put(ctx context.Context, e *Entry) error {
	return errors.Join(b.Near.Put(ctx, e), b.Far.Put(ctx, e))
}
