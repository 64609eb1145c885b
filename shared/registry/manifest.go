package registry

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// longestDocument is how large a manifest, an index or a config may be. The
// specification asks for 4 MiB at least.
const longestDocument = 32 << 20

// longestRead is how long reading one may take, with all its attempts.
const longestRead = 5 * time.Minute

// document is a manifest or an index, compared with its digest and taken apart.
type document struct {
	desc  v1.Descriptor
	raw   []byte
	image *v1.Manifest // one of image and index is set
	index *v1.IndexManifest
}

func acceptHeader() http.Header {
	// Schema 1 is not asked for, so registries that would convert downwards say 404 instead.
	return http.Header{"Accept": {strings.Join([]string{
		string(types.OCIImageIndex), string(types.OCIManifestSchema1),
		string(types.DockerManifestList), string(types.DockerManifestSchema2), "*/*;q=0.1",
	}, ", ")}}
}

// manifest fetches the document called id, a tag or a digest. want is its
// descriptor where an index gave one.
func (s *session) manifest(ctx context.Context, id string, want *v1.Descriptor) (*document, error) {
	if want != nil && (want.Size < 0 || want.Size > longestDocument) {
		return nil, fmt.Errorf("%w: the index says manifest %s has %d bytes, allowed are %d", ErrIntegrity, id, want.Size, longestDocument)
	}
	raw, header, err := s.fetch(ctx, id)
	if err != nil {
		return nil, err
	}
	d := &document{raw: raw}
	if d.desc.Digest, err = checkDigest(raw, id, header); err != nil {
		return nil, err
	}
	d.desc.Size = int64(len(raw))
	if err := d.parse(header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if want == nil {
		return d, nil
	}
	if want.Size != d.desc.Size {
		return nil, fmt.Errorf("%w: manifest %s has %d bytes, the index says %d", ErrIntegrity, id, d.desc.Size, want.Size)
	}
	if isManifestType(want.MediaType) && want.MediaType != d.desc.MediaType {
		return nil, fmt.Errorf("%w: manifest %s is a %s, the index says %s", ErrIntegrity, id, d.desc.MediaType, want.MediaType)
	}
	return d, nil
}

// fetch reads the whole document, again from the beginning when the connection breaks.
func (s *session) fetch(ctx context.Context, id string) ([]byte, http.Header, error) {
	for attempt := 0; ; attempt++ {
		raw, header, err := s.fetchOnce(ctx, id)
		if err == nil || attempt >= s.c.retry.extra || !errors.Is(err, errBroken) {
			return raw, header, err
		}
		if err := sleep(ctx, s.c.retry.pause(attempt)); err != nil {
			return nil, nil, err
		}
	}
}

var errBroken = errors.New("the answer broke off")

func (s *session) fetchOnce(ctx context.Context, id string) ([]byte, http.Header, error) {
	// A drip of bytes must not hold us for ever, however small the document.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(longestRead, func() { cancel(errSlow) }).Stop()
	resp, err := s.do(ctx, http.MethodGet, s.url("manifests", id), acceptHeader(), http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.ContentLength > longestDocument {
		return nil, nil, fmt.Errorf("%w: manifest %s has %d bytes, allowed are %d", ErrIntegrity, id, resp.ContentLength, longestDocument)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, longestDocument+1))
	switch {
	case context.Cause(ctx) == errSlow:
		return nil, nil, &netError{fmt.Errorf("%w: manifest %s not here after %v", errSlow, id, longestRead)}
	case err != nil:
		return nil, nil, fmt.Errorf("%w: %w", errBroken, err)
	case len(raw) > longestDocument:
		return nil, nil, fmt.Errorf("%w: manifest %s has more than %d bytes", ErrIntegrity, id, longestDocument)
	}
	return raw, resp.Header, nil
}

// checkDigest compares a document with what was asked for, or, where a tag was
// asked for, with what the registry says it sends.
func checkDigest(raw []byte, id string, header http.Header) (v1.Hash, error) {
	said, err := v1.NewHash(id)
	if err != nil {
		said, err = v1.NewHash(header.Get("Docker-Content-Digest"))
	}
	if err != nil {
		return digestOf("sha256", raw)
	}
	got, err := digestOf(said.Algorithm, raw)
	if err == nil && got != said {
		err = fmt.Errorf("%w: manifest %s: got %s, want %s", ErrIntegrity, id, got, said)
	}
	return got, err
}

func digestOf(algorithm string, b []byte) (v1.Hash, error) {
	h, err := v1.Hasher(algorithm)
	if err != nil {
		return v1.Hash{}, err
	}
	h.Write(b)
	return v1.Hash{Algorithm: algorithm, Hex: hex.EncodeToString(h.Sum(nil))}, nil
}

// parse finds out what the document is, and refuses what could be read in two
// ways (CVE-2021-41190).
func (d *document) parse(contentType string) error {
	var probe struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	sent := types.MediaType(contentType)
	if mt, _, err := mime.ParseMediaType(contentType); err == nil {
		sent = types.MediaType(mt)
	}
	if err := json.Unmarshal(d.raw, &probe); err != nil {
		return fmt.Errorf("%w: the answer is no manifest but %s; is there a proxy or a login page in between? (%w)", ErrIntegrity, sent, err)
	}
	isIndex, isImage := probe.Manifests != nil, probe.Config != nil || probe.Layers != nil
	switch {
	case sent.IsSchema1() || probe.SchemaVersion == 1 || probe.FSLayers != nil:
		return fmt.Errorf("%w: it is a Docker schema 1 manifest, which registries gave up; pull and push it with a current docker to convert it", ErrUnsupported)
	case isIndex && isImage:
		return fmt.Errorf("%w: the manifest is an image and an index at once", ErrIntegrity)
	case probe.MediaType != "" && isManifestType(sent) && sent != probe.MediaType:
		return fmt.Errorf("%w: the manifest says %s, the registry says %s", ErrIntegrity, probe.MediaType, sent)
	}
	d.desc.MediaType = probe.MediaType
	if d.desc.MediaType == "" {
		d.desc.MediaType = guess(sent, isIndex)
	}
	mt := d.desc.MediaType
	switch {
	case mt.IsIndex() && isIndex:
		return d.parseIndex()
	case mt.IsImage() && isImage:
		return d.parseImage()
	case mt.IsIndex() || mt.IsImage():
		return fmt.Errorf("%w: the manifest says %s but is not one", ErrIntegrity, mt)
	}
	return fmt.Errorf("%w: its manifest is a %s", ErrUnsupported, mt)
}

// guess is the type of a document that does not say it: mediaType is optional in OCI's.
func guess(sent types.MediaType, isIndex bool) types.MediaType {
	switch {
	case isManifestType(sent):
		return sent
	case isIndex:
		return types.OCIImageIndex
	}
	return types.OCIManifestSchema1
}

func isManifestType(mt types.MediaType) bool { return mt.IsIndex() || mt.IsImage() || mt.IsSchema1() }

func (d *document) parseIndex() (err error) {
	if d.index, err = v1.ParseIndexManifest(bytes.NewReader(d.raw)); err != nil {
		return fmt.Errorf("%w: read the index: %w", ErrIntegrity, err)
	}
	for _, m := range d.index.Manifests {
		if err := checkDescriptor(m); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) parseImage() (err error) {
	if d.image, err = v1.ParseManifest(bytes.NewReader(d.raw)); err != nil {
		return fmt.Errorf("%w: read the manifest: %w", ErrIntegrity, err)
	}
	for _, l := range append([]v1.Descriptor{d.image.Config}, d.image.Layers...) {
		if err := checkDescriptor(l); err != nil {
			return err
		}
	}
	return nil
}

func checkDescriptor(d v1.Descriptor) error {
	if d.Digest.Hex == "" || d.Size < 0 {
		return fmt.Errorf("%w: the manifest has a descriptor without digest or with size %d", ErrIntegrity, d.Size)
	}
	return nil
}
