package cloud

import (
	"context"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// provider implements credentials.Provider with a limit of time.
type provider struct {
	name   string
	limit  time.Duration
	serves func(host string) bool
	get    func(ctx context.Context, host string) (credential, error)
}

// credential is a credential and until when it is good.
type credential struct {
	authn.AuthConfig
	until time.Time
}

func (p *provider) Name() string            { return p.name }
func (p *provider) Serves(host string) bool { return p.serves(host) }

func (p *provider) Credential(ctx context.Context, host string) (authn.AuthConfig, time.Time, error) {
	c, err := within(ctx, p.limit, func(ctx context.Context) (credential, error) { return p.get(ctx, host) })
	return c.AuthConfig, c.until, err
}
