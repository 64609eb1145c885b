package cosign

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/strake-build/strake/shared/registry"
)

// found is something beside a manifest that may be a signature or attestation.
type found struct {
	where  string // for messages
	legacy oci.Signature
	bundle *bundle.Bundle
	// unreadable says why it is neither: it is there and counts for nothing.
	unreadable error
}

// legacyBeside reads what is kept under cosign's tag of a kind, in layers of
// one media type. None is there only if the registry says so.
func legacyBeside(ctx context.Context, c *registry.Client, repository string, digest v1.Hash, kind, mediaType string) ([]found, error) {
	doc, err := c.Document(ctx, repository+":"+besideTag(digest, kind))
	if errors.Is(err, registry.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return legacyLayers(ctx, doc, mediaType)
}

func legacyLayers(ctx context.Context, doc *registry.Document, mediaType string) (all []found, err error) {
	if doc.Image == nil {
		return []found{{where: doc.Ref, unreadable: errors.New("it is an index, not a list of signatures")}}, nil
	}
	for i, l := range doc.Image.Layers {
		f := found{where: fmt.Sprintf("%s, layer %d", doc.Ref, i+1)}
		if string(l.MediaType) != mediaType {
			f.unreadable = fmt.Errorf("its media type is %s, not %s", l.MediaType, mediaType)
			all = append(all, f)
			continue
		}
		payload, err := doc.Small(ctx, l, mostBytes)
		if err != nil {
			return nil, err
		}
		f.legacy, f.unreadable = legacySignature(payload, l)
		all = append(all, f)
	}
	return all, nil
}

// legacySignature takes a layer's annotations apart, by cosign's own rules.
func legacySignature(payload []byte, l v1.Descriptor) (oci.Signature, error) {
	opts := []static.Option{static.WithAnnotations(l.Annotations), static.WithLayerMediaType(l.MediaType)}
	if cert := l.Annotations[static.CertificateAnnotationKey]; cert != "" {
		opts = append(opts, static.WithCertChain([]byte(cert), []byte(l.Annotations[static.ChainAnnotationKey])))
	}
	if s := l.Annotations[static.BundleAnnotationKey]; s != "" {
		b, err := rekorBundle(s)
		if err != nil {
			return nil, err
		}
		opts = append(opts, static.WithBundle(b))
	}
	if s := l.Annotations[static.RFC3161TimestampAnnotationKey]; s != "" {
		t, err := signedTimestamp(s)
		if err != nil {
			return nil, err
		}
		opts = append(opts, static.WithRFC3161Timestamp(t))
	}
	return static.NewSignature(payload, l.Annotations[annotationSignature], opts...)
}

// referring reads the referrers of a manifest that are bundles, or legacy
// signatures in a referrer's form.
func referring(ctx context.Context, c *registry.Client, repository string, digest v1.Hash) (all []found, err error) {
	doc, err := c.Document(ctx, repository+"@"+digest.String())
	if errors.Is(err, registry.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrNoTag, err)
	}
	if err != nil {
		return nil, err
	}
	list, err := doc.Referrers(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		fs, err := referrer(ctx, doc, d)
		if err != nil {
			return nil, err
		}
		all = append(all, fs...)
	}
	return all, nil
}

// referrer reads one. Old clients wrote the config's type instead of the
// artifact's into the fallback tag, so where that says nothing the manifest is asked.
func referrer(ctx context.Context, subject *registry.Document, d v1.Descriptor) ([]found, error) {
	if !isBundle(d.ArtifactType) && d.ArtifactType != signatureOCIType && d.ArtifactType != "" && d.ArtifactType != emptyConfigType {
		return nil, nil
	}
	doc, err := subject.Child(ctx, d)
	if err != nil {
		return nil, err
	}
	f := found{where: doc.Ref}
	m := doc.Image
	switch {
	case m == nil:
		return nil, nil
	case m.ArtifactType == signatureOCIType || m.ArtifactType == "" && string(m.Config.MediaType) == signatureOCIType:
		return legacyLayers(ctx, doc, simpleSigning)
	case !isBundle(m.ArtifactType):
		return nil, nil
	case m.Subject == nil || m.Subject.Digest != subject.Descriptor.Digest:
		f.unreadable = errors.New("its subject is another manifest")
	case len(m.Layers) != 1 || !isBundle(string(m.Layers[0].MediaType)):
		f.unreadable = errors.New("it has not the one layer of a bundle")
	default:
		b, err := doc.Small(ctx, m.Layers[0], mostBytes)
		if err != nil {
			return nil, err
		}
		f.bundle = new(bundle.Bundle)
		if err := f.bundle.UnmarshalJSON(b); err != nil {
			f.bundle, f.unreadable = nil, fmt.Errorf("read the bundle: %w", err)
		}
	}
	return []found{f}, nil
}
