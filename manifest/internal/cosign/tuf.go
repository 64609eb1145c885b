package cosign

import (
	"context"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
)

// The files of a TUF repository of Sigstore's that are of use here.
const (
	TrustedRootTarget   = "trusted_root.json"
	SigningConfigTarget = "signing_config.v0.2.json"
)

// PublicMirror is where the public Sigstore tells whom it trusts.
const PublicMirror = tuf.DefaultMirror

// Repository is a TUF repository: where a Sigstore tells, signed and up to date, whom to trust.
type Repository struct {
	Mirror string
	// Root is the root.json that its first metadata are trusted by; nil for the public Sigstore's, which the program knows.
	Root []byte
}

// Target gives one of its files. Nothing is kept on the disk.
func (r Repository) Target(ctx context.Context, name string) ([]byte, error) {
	o := (&tuf.Options{Root: r.Root, RepositoryBaseURL: r.Mirror}).WithDisableLocalCache().WithContext(ctx)
	if o.Root == nil {
		o.Root = tuf.DefaultRoot()
	}
	c, err := tuf.New(o)
	if err != nil {
		return nil, fmt.Errorf("read the TUF repository %s: %w", r.Mirror, err)
	}
	b, err := c.GetTarget(name)
	if err != nil {
		return nil, fmt.Errorf("read %s from the TUF repository %s: %w", name, r.Mirror, err)
	}
	switch name {
	case TrustedRootTarget:
		_, err = root.NewTrustedRootFromJSON(b)
	case SigningConfigTarget:
		_, err = root.NewSigningConfigFromJSON(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s of the TUF repository %s: %w", name, r.Mirror, err)
	}
	return b, nil
}
