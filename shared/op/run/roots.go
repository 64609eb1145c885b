package run

import (
	"context"

	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/tree"
)

// Roots turns trees into root filesystems that a process can run in.
type Roots interface {
	// Open checks t out; view is t's. The root is for one step and ends with
	// Commit or Discard. Where the view has one root for all, Open waits until
	// the step before is done.
	Open(ctx context.Context, t tree.Tree, view *tree.View) (Root, error)
}

// Root is a tree on disk, about to be changed by a step.
type Root interface {
	// Place makes what is needed for mounts and for the working directory.
	Place(ctx context.Context, points []Point) error
	// Disk is where the sandbox finds the root.
	Disk() sandbox.Root
	// Commit takes what the step changed as a new layer. All its processes must
	// have ended.
	Commit(ctx context.Context) (tree.Tree, error)
	// Discard forgets the step.
	Discard() error
}

// Point is a path that a step needs to find: no part of it is a symlink.
type Point struct {
	Path string // relative, clean
	Dir  bool
	// Keep makes it part of the result, as BuildKit does with a working
	// directory. Otherwise it is gone after the step.
	Keep bool
}
