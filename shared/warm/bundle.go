package warm

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/store"
)

// A bundle is an OCI image layout in one tar, its index first. Annotations of the
// index say what else a record has.
const (
	nameAnnotation    = "io.containerd.image.name"
	fromAnnotation    = "dev.strake.from"
	whenAnnotation    = "dev.strake.resolved-at"
	subjectAnnotation = "dev.strake.subject"
)

// Export writes images of a store, with all that is there of them and refers to
// them, into one tar. Every blob is compared with its digest on the way. want
// names the images; none is all.
func Export(ctx context.Context, s *store.Store, w io.Writer, want []string) error {
	records, err := chosen(s, want)
	if err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	var blobs []v1.Descriptor
	seen := make(map[v1.Hash]bool)
	for _, r := range records {
		index.Manifests = append(index.Manifests, entryOf(r))
		parts, err := s.Parts(r.Root)
		if err != nil {
			return fmt.Errorf("export %s: %w", r.Ref, err)
		}
		for _, p := range parts {
			if !seen[p.Digest] {
				seen[p.Digest] = true
				blobs = append(blobs, p)
			}
		}
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", raw}} {
		if err := addFile(tw, f.name, int64(len(f.data)), bytes.NewReader(f.data)); err != nil {
			return err
		}
	}
	for _, d := range blobs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := exportBlob(tw, s, d); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return tw.Close()
}

func exportBlob(tw *tar.Writer, s *store.Store, d v1.Descriptor) error {
	size, err := s.Size(d.Digest)
	if err != nil {
		return err
	}
	r, err := s.Open(v1.Descriptor{Digest: d.Digest, Size: max(d.Size, size)})
	if err != nil {
		return err
	}
	defer r.Close()
	return addFile(tw, "blobs/"+d.Digest.Algorithm+"/"+d.Digest.Hex, size, r)
}

func addFile(tw *tar.Writer, name string, size int64, r io.Reader) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(tw, r)
	return err
}

func entryOf(r store.Record) v1.Descriptor {
	d := v1.Descriptor{MediaType: r.Root.MediaType, Digest: r.Root.Digest, Size: r.Root.Size, Annotations: map[string]string{
		nameAnnotation: r.Ref, whenAnnotation: r.ResolvedAt.UTC().Format(time.RFC3339),
	}}
	if _, tag, ok := strings.Cut(r.Ref[strings.LastIndexByte(r.Ref, '/')+1:], ":"); ok && !isDigest(r.Ref) {
		d.Annotations["org.opencontainers.image.ref.name"] = tag
	}
	if r.From != "" {
		d.Annotations[fromAnnotation] = r.From
	}
	if r.Subject != nil {
		d.Annotations[subjectAnnotation] = r.Subject.String()
	}
	return d
}

// chosen are the records of the names wanted, and of what refers to them.
func chosen(s *store.Store, want []string) ([]store.Record, error) {
	all, err := s.Refs()
	if err != nil || len(want) == 0 {
		return all, err
	}
	var out []store.Record
	about := make(map[v1.Hash]bool)
	for _, name := range want {
		full, err := store.Canonical(name)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(r store.Record) bool { return r.Ref == full })
		if i < 0 {
			return nil, fmt.Errorf("%s is not in %s", full, s.Path())
		}
		out = append(out, all[i])
		parts, err := s.Parts(all[i].Root)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			about[p.Digest] = true
		}
	}
	for _, r := range all {
		if r.Subject != nil && about[*r.Subject] && !slices.ContainsFunc(out, func(o store.Record) bool { return o.Ref == r.Ref }) {
			out = append(out, r)
		}
	}
	return out, nil
}

// Import puts the images of a bundle, or of any OCI image layout in a tar, into
// the store. Every blob is compared with its digest before anybody can see it. A
// name that is in the store already, and newer there, stays what it is. The
// answer lists the names that were set, and those that stayed.
func (w *Warmer) Import(ctx context.Context, r io.Reader) (set, stayed []store.Record, err error) {
	defer w.Store.Lease()()
	index, err := w.unpackBundle(ctx, r)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	if index == nil {
		return nil, nil, errors.New("import: there is no index.json in it: not an OCI image layout")
	}
	for _, d := range index.Manifests {
		rec, err := recordOf(d, w.Now())
		if err != nil {
			return set, stayed, fmt.Errorf("import: %w", err)
		}
		parts, err := w.Store.Parts(rec.Root)
		if err != nil {
			return set, stayed, fmt.Errorf("import %s: %w", rec.Ref, err)
		}
		for _, p := range parts {
			if err := w.Store.Check(ctx, p); err != nil {
				return set, stayed, fmt.Errorf("import %s: %w", rec.Ref, err)
			}
		}
		if old, err := w.Store.Ref(rec.Ref); err == nil && old.Root.Digest != rec.Root.Digest && old.ResolvedAt.After(rec.ResolvedAt) && !w.Force {
			stayed = append(stayed, *old)
			continue
		}
		if err := w.Store.SetRef(*rec); err != nil {
			return set, stayed, err
		}
		w.Store.Touch(rec.Root.Digest)
		set = append(set, *rec)
		if err := w.prepareAll(ctx, rec); err != nil {
			return set, stayed, fmt.Errorf("import %s: %w", rec.Ref, err)
		}
	}
	return set, stayed, w.Store.WriteIndex()
}

// prepareAll prepares every platform that is there of an image.
func (w *Warmer) prepareAll(ctx context.Context, rec *store.Record) error {
	if w.Prepare == nil || rec.Subject != nil {
		return nil
	}
	images, err := Platforms(ctx, w.Store, *rec)
	if err != nil {
		return err
	}
	for _, img := range images {
		if err := w.Prepare(ctx, img); err != nil {
			return err
		}
	}
	return nil
}

func recordOf(d v1.Descriptor, now time.Time) (*store.Record, error) {
	name := d.Annotations[nameAnnotation]
	if name == "" {
		name = d.Annotations["org.opencontainers.image.ref.name"]
	}
	if name == "" {
		return nil, fmt.Errorf("manifest %s has no name in index.json", d.Digest)
	}
	full, err := store.Canonical(name)
	if err != nil {
		return nil, err
	}
	r := &store.Record{Ref: full, Root: v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, From: d.Annotations[fromAnnotation], ResolvedAt: now}
	if at, err := time.Parse(time.RFC3339, d.Annotations[whenAnnotation]); err == nil {
		r.ResolvedAt = at
	}
	if s := d.Annotations[subjectAnnotation]; s != "" {
		h, err := v1.NewHash(s)
		if err != nil {
			return nil, fmt.Errorf("%s: subject: %w", full, err)
		}
		r.Subject = &h
	}
	return r, nil
}

// unpackBundle puts the blobs of a bundle into the store, and gives its index.
func (w *Warmer) unpackBundle(ctx context.Context, r io.Reader) (*v1.IndexManifest, error) {
	var index *v1.IndexManifest
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return index, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch {
		case h.Typeflag != tar.TypeReg:
		case name == "index.json":
			if index, err = v1.ParseIndexManifest(io.LimitReader(tr, maxDocument)); err != nil {
				return nil, fmt.Errorf("index.json: %w", err)
			}
		case strings.HasPrefix(name, "blobs/"):
			digest := strings.Replace(strings.TrimPrefix(name, "blobs/"), "/", ":", 1)
			d, err := v1.NewHash(digest)
			if err != nil {
				return nil, fmt.Errorf("entry %q: %w", h.Name, err)
			}
			_, err = w.Store.Put(ctx, v1.Descriptor{Digest: d, Size: h.Size}, func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(tr), nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
}
