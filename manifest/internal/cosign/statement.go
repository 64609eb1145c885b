package cosign

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	cbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Statement is an in-toto statement about manifests.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is what a statement is about.
type Subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// envelope signs a statement (DSSE).
func envelope(ctx context.Context, key signature.SignerVerifier, s Statement) (payload, signed []byte, err error) {
	if payload, err = json.Marshal(s); err != nil {
		return nil, nil, err
	}
	signed, err = dsse.WrapSigner(key, inTotoType).SignMessage(bytes.NewReader(payload), options.WithContext(ctx))
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	return payload, signed, nil
}

// bundleOf makes a Sigstore bundle of a statement, signed by a key.
func bundleOf(ctx context.Context, key signature.SignerVerifier, s Statement) ([]byte, error) {
	payload, signed, err := envelope(ctx, key, s)
	if err != nil {
		return nil, err
	}
	pub, err := key.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return cbundle.MakeNewBundle(pub, nil, payload, signed, nil, nil)
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
