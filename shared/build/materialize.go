package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/tree"
)

// errNotInPlace is of a build whose image is to be the container's root, and cannot be.
var errNotInPlace = errors.New("put the image's root filesystem into the container's own: only the official image has a root that may be replaced; save the image with --oci-layout-path, and unpack it where it is wanted")

// materialize puts the image's files where a step in place would find them. They stay when the build ends; the next
// build in the container removes them.
func (e *engine) materialize(ctx context.Context, trees []tree.Tree) error {
	if !e.req.Isolation.Materialize {
		return nil
	}
	if len(trees) != 1 {
		return fmt.Errorf("put the image's root filesystem into the container's own: there are %d platforms, and one root", len(trees))
	}
	if err := e.isolated(ctx); err != nil {
		return err
	}
	roots, ok := e.worker.Runner.Roots.(*run.InPlaceRoots)
	if !ok {
		return &EnvironmentError{errNotInPlace}
	}
	view, err := trees[0].View(ctx)
	if err != nil {
		return err
	}
	root, err := roots.Open(ctx, trees[0], view)
	if err != nil {
		return fmt.Errorf("put the image's root filesystem into the container's own: %w", err)
	}
	// Nothing has run there: this only gives the root back.
	_, err = root.Commit(ctx)
	return err
}
