package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/unpacked"
)

// prepare says what is made ready of each image: tables of contents, and
// directories where they are wanted.
func (c *command) prepare(x *cli.Context, s *store.Store) (func(context.Context, *registry.Image) error, error) {
	userXattr, err := sandbox.UserXattrs(s.Path())
	if err != nil {
		return nil, err
	}
	k := &unpacked.Keeper{Store: s, UserXattr: userXattr, Notice: func(l string) { c.log.Warn().Msg(l) }}
	switch x.String("unpacked") {
	case "true":
		k.Trees = true
	case "false":
	default:
		why := unpacked.Suits(s.Path())
		k.Trees = why == nil
		c.log.Debug().AnErr("why", why).Msgf("layers are kept unpacked: %t", k.Trees)
	}
	return func(ctx context.Context, img *registry.Image) error {
		if img.Platform.OS == "windows" {
			return nil // nothing of it is run here
		}
		return k.Keep(ctx, blobsOf(ctx, img))
	}, nil
}

func blobsOf(ctx context.Context, img *registry.Image) []layer.Blob {
	var out []layer.Blob
	for _, l := range img.Layers {
		out = append(out, layer.Blob{
			Digest: l.Descriptor.Digest, Size: l.Descriptor.Size, DiffID: l.DiffID, MediaType: l.Descriptor.MediaType,
			Open: func() (io.ReadCloser, error) { return l.Open(ctx) },
		})
	}
	return out
}

// enterNamespace runs the whole command again in a user namespace, where an
// ordinary user with subordinate ids can give files their owners: the executor
// does the same, and finds them so.
func (c *command) enterNamespace(ctx context.Context, x *cli.Context) (done bool, err error) {
	env := os.Environ()
	if x.String("unpacked") == "false" || sandbox.InUserNamespace(env) || !sandbox.NeedsUserNamespace() {
		return false, nil
	}
	n, err := sandbox.PlanUserNamespace()
	if err != nil || n.IDs == sandbox.OneID {
		c.log.Debug().AnErr("why", errors.Join(err, n.Why)).Msg("no user namespace is entered")
		return false, nil //nolint:nilerr // the work goes on without
	}
	code, err := n.Enter(ctx, os.Args, env)
	if err != nil {
		c.log.Debug().Err(err).Msg("no user namespace can be entered")
		return false, nil
	}
	if code != 0 {
		return true, exitStatus(code)
	}
	return true, nil
}
