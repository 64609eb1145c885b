package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Files are the small files that pipelines read after a build. An empty path
// writes none. Each may be an https URL, which the content is PUT to.
type Files struct {
	// Digest gets "sha256:…" without a newline: Tekton takes it as it is.
	Digest string
	// NameDigest gets "repository@digest", a line per destination.
	NameDigest string
	// NameTagDigest gets "repository:tag@digest", a line per destination.
	NameTagDigest string
	// Images gets Cloud Build's $BUILDER_OUTPUT/images: a JSON object a line.
	Images string
	// Metadata gets a JSON object with buildx's keys, and those of Extra.
	Metadata string
	Extra    map[string]any
	// Timings gets Times as JSON.
	Timings string
	Times   any

	Destinations []Destination
	// Client does the PUTs; nil is http.DefaultClient.
	Client *http.Client
}

// Write writes all files, each at once or not at all. Folders that are missing
// are made for nobody else. Every file is tried.
func (f *Files) Write(ctx context.Context, a Artifact) error {
	d, err := describe(a)
	if err != nil {
		return err
	}
	put := func(path string, content func() ([]byte, error)) error {
		if path == "" {
			return nil
		}
		b, err := content()
		if err == nil {
			err = f.put(ctx, path, b)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", hideQuery(path), err)
		}
		return nil
	}
	return errors.Join(
		put(f.Digest, func() ([]byte, error) { return []byte(d.Digest.String()), nil }),
		put(f.NameDigest, func() ([]byte, error) {
			return f.lines(d.Digest, func(n Destination) string { return n.Repository.Name() }), nil
		}),
		put(f.NameTagDigest, func() ([]byte, error) { return f.lines(d.Digest, Destination.String), nil }),
		put(f.Images, func() ([]byte, error) { return f.images(d.Digest) }),
		put(f.Timings, func() ([]byte, error) { return document(f.Times) }),
		put(f.Metadata, func() ([]byte, error) { return f.metadata(a, d) }),
	)
}

func (f *Files) lines(digest v1.Hash, name func(Destination) string) []byte {
	var b bytes.Buffer
	for _, n := range f.Destinations {
		fmt.Fprintf(&b, "%s@%s\n", name(n), digest)
	}
	return b.Bytes()
}

func (f *Files) images(digest v1.Hash) ([]byte, error) {
	var b bytes.Buffer
	for _, n := range f.Destinations {
		line := struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
		}{n.Text, digest.String()}
		if err := json.NewEncoder(&b).Encode(line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func (f *Files) metadata(a Artifact, d v1.Descriptor) ([]byte, error) {
	m := map[string]any{}
	maps.Copy(m, f.Extra)
	m["containerimage.digest"] = d.Digest
	if img, ok := a.(v1.Image); ok {
		config, err := img.ConfigName()
		if err != nil {
			return nil, err
		}
		m["containerimage.config.digest"] = config
		if d, err = annotated(d, img, config); err != nil {
			return nil, err
		}
	}
	m["containerimage.descriptor"] = d
	var names []string
	for _, n := range f.Destinations {
		names = append(names, n.docker())
	}
	if len(names) > 0 {
		m["image.name"] = strings.Join(names, ",")
	}
	return document(m)
}

// annotated is a descriptor with the annotations that BuildKit gives it.
func annotated(d v1.Descriptor, img v1.Image, config v1.Hash) (v1.Descriptor, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return d, err
	}
	d = *d.DeepCopy()
	d.Annotations = map[string]string{"config.digest": config.String()}
	if !file.Created.IsZero() {
		d.Annotations["org.opencontainers.image.created"] = file.Created.UTC().Format(time.RFC3339)
	}
	return d, nil
}

func document(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}

func (f *Files) put(ctx context.Context, path string, b []byte) error {
	if strings.HasPrefix(path, "https://") {
		return f.upload(ctx, path, b)
	}
	if err := makeParents(path, 0o700); err != nil {
		return err
	}
	return replace(path, 0o644, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

func (f *Files) upload(ctx context.Context, to string, b []byte) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(b))
	if err != nil {
		return bare(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	client := f.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return bare(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("answer %s", resp.Status)
	}
	return nil
}

// bare takes off the URL that net/http puts in front: the query of a
// pre-signed one is a secret.
func bare(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

func hideQuery(path string) string {
	if strings.HasPrefix(path, "https://") {
		path, _, _ = strings.Cut(path, "?")
	}
	return path
}
