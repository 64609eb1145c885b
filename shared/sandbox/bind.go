package sandbox

import (
	"context"
	"fmt"
)

// Bind is the view for where mounts are allowed but no overlay is to be had, for
// want of a file system that takes its upper directory, or because ids are
// emulated: a copy-up would give a file another identity. It is Overlay with a
// plain directory as root.
type Bind struct{ overlay *Overlay }

// NewBind makes the view; the reaper is as for NewOverlay.
func NewBind(id Identity, reaper *Reaper) *Bind {
	o := NewOverlay(reaper)
	o.identity = id
	return &Bind{o}
}

// View tells what the sandbox needs and what it can keep.
func (b *Bind) View() View {
	v := b.overlay.View()
	v.Name, v.Layered = "bind", false
	return v
}

// Run runs p in the directory r.Dir, as Overlay does.
func (b *Bind) Run(ctx context.Context, r Root, p Process) (Exit, error) {
	if r.Dir == "" {
		return Exit{}, fmt.Errorf("a root of layers: %w (a directory is wanted)", ErrUnsupported)
	}
	return b.overlay.Run(ctx, r, p)
}
