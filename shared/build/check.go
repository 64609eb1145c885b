package build

import (
	"context"
	"errors"

	"github.com/strake-build/strake/shared/frontend"
)

// Check reads the Dockerfile and says what is wrong with it, without building.
func (b *Builder) Check(ctx context.Context, req Request) (_ *frontend.LintResult, err error) {
	e, err := b.engine(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.workspace.Close()) }()
	return frontend.Lint(ctx, e.req.Frontend, e)
}
