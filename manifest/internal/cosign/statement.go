package cosign

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/strake-build/strake/shared/attest"
)

// bundleOf makes a Sigstore bundle of a statement, as bytes and as a reader finds it.
func (s *Signer) bundleOf(ctx context.Context, st attest.Statement) ([]byte, found, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return nil, found{}, err
	}
	b, _, err := s.seal(ctx, &sign.DSSEData{Data: data, PayloadType: inTotoType}, true)
	if err != nil {
		return nil, found{}, err
	}
	made, err := bundle.NewBundle(b)
	if err != nil {
		return nil, found{}, fmt.Errorf("sign: %w", err)
	}
	text, err := protojson.Marshal(b)
	return text, found{where: "the new bundle", bundle: made}, err
}

// attach puts a bundle beside the manifest that it is about.
func (s *Signer) attach(ctx context.Context, repository string, d v1.Descriptor, predicateType string, bundle []byte) error {
	to, err := s.Registry.Pusher(repository)
	if err != nil {
		return err
	}
	img, err := artifact(d, predicateType, bundle, s.Now()).Image()
	if err != nil {
		return err
	}
	_, err = to.Attach(ctx, img)
	return err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
