package build

import (
	"context"
	"errors"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/warmed"
)

// allMissing makes an error about one image that is not there one about all of
// them, so that nobody has to find out one by one.
func (e *engine) allMissing(ctx context.Context, err error) error {
	first, ok := errors.AsType[*warmed.MissingError](err)
	if !ok {
		return err
	}
	needed, nerr := frontend.Images(ctx, e.req.Frontend, e)
	if nerr != nil {
		return err //nolint:nilerr // what is known is told
	}
	var more []*warmed.MissingError
	for _, n := range needed {
		if m, ok := errors.AsType[*warmed.MissingError](n.Err); ok {
			more = append(more, m)
		}
	}
	return first.Join(more...)
}
