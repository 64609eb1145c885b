package stepcache

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/strake-build/strake/shared/cache"
	"github.com/strake-build/strake/shared/graph"
	"github.com/strake-build/strake/shared/tree"
)

// Keep puts the result of a step that was carried out into the cache, while the
// build goes on. Wait waits for it. What goes wrong is told, and hinders nothing.
func (c *Cache) Keep(_ context.Context, v *graph.Vertex, inputs, outputs []tree.Tree, took time.Duration) {
	if !c.remembers(v) || len(outputs) != 1 {
		return
	}
	s := c.step(v)
	s.note(func(o *Outcome) { o.Took = took.Seconds() })
	if c.Store == nil {
		return
	}
	ctx := c.Background
	c.keeping.Go(func() error {
		if err := s.keep(ctx, inputs, outputs[0], took); err != nil && ctx.Err() == nil {
			c.warn(fmt.Sprintf("cache %s: keep the result of %s: %v", c.Store, v.Name, err))
		}
		return nil
	})
}

func (s *step) keep(ctx context.Context, inputs []tree.Tree, out tree.Tree, took time.Duration) error {
	s.define(ctx)
	content, err := s.contentKey(ctx, inputs)
	if err != nil {
		return err
	}
	e, err := s.entry(ctx, out, took)
	if e == nil || err != nil {
		return err
	}
	keys := []cache.Key{content}
	if s.key != "" && s.key != content {
		keys = append(keys, s.key)
	}
	for _, k := range keys {
		e.Key = k
		if err := s.c.Store.Put(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// entry describes a result; nil for one that is not above the base image that the
// graph says.
func (s *step) entry(ctx context.Context, out tree.Tree, took time.Duration) (*cache.Entry, error) {
	base, err := s.c.base(ctx, s.v)
	if err != nil {
		return nil, err
	}
	below, made := out.Split()
	e := &cache.Entry{
		Step: s.v.Name, Platform: platformOf(s.v), Builder: s.c.Builder, Created: s.c.Now(), Took: took, Own: min(1, len(made)),
	}
	if e.Base, err = diffIDs(ctx, below); err != nil {
		return nil, err
	}
	if sameBase(ctx, base, e) != nil {
		return nil, nil
	}
	blobs, err := tree.Of(made...).Blobs(ctx)
	if err != nil {
		return nil, err
	}
	for i, b := range blobs {
		content, err := made[i].Content(ctx)
		if err != nil {
			return nil, err
		}
		e.Layers = append(e.Layers, cache.Layer{Blob: *b, Content: content})
	}
	return e, nil
}

// put keeps an entry under one more key.
func (c *Cache) put(e *cache.Entry) {
	ctx := c.Background
	c.keeping.Go(func() error {
		if err := c.Store.Put(ctx, e); err != nil && ctx.Err() == nil {
			c.warn(fmt.Sprintf("cache %s: keep the result of %s: %v", c.Store, e.Step, err))
		}
		return nil
	})
}

// Wait returns when all is kept that there is to keep.
func (c *Cache) Wait() {
	_ = c.probes.Wait() // gives no error
	_ = c.keeping.Wait()
}

func diffIDs(ctx context.Context, t tree.Tree) ([]v1.Hash, error) {
	blobs, err := t.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]v1.Hash, len(blobs))
	for i, b := range blobs {
		ids[i] = b.DiffID
	}
	return ids, nil
}
