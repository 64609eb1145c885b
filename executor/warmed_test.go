package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/registry"
	"github.com/strake-build/strake/shared/sandbox"
	"github.com/strake-build/strake/shared/store"
	"github.com/strake-build/strake/shared/unpacked"
	"github.com/strake-build/strake/shared/warm"
)

// warmImages DIR REF… fills a directory as the warmer does, and lets the registry
// forget that it was asked.
func warmImages(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "warm DIR REF…")
	s, err := store.Open(ts.MkAbs(args[0]), store.Options{})
	ts.Check(err)
	client, err := registry.New(registry.Options{})
	ts.Check(err)
	userXattr, err := sandbox.UserXattrs(s.Path())
	ts.Check(err)
	k := &unpacked.Keeper{Store: s, Trees: true, UserXattr: userXattr}
	defer k.Close()
	w := &warm.Warmer{Store: s, Registry: client, Now: time.Now, Prepare: func(ctx context.Context, img *registry.Image) error {
		var blobs []layer.Blob
		for _, l := range img.Layers {
			blobs = append(blobs, layer.Blob{Digest: l.Descriptor.Digest, DiffID: l.DiffID, Open: func() (io.ReadCloser, error) { return l.Open(ctx) }})
		}
		return k.Keep(ctx, blobs)
	}}
	var images []warm.Image
	for _, ref := range args[1:] {
		images = append(images, warm.Image{Ref: ref})
	}
	results, err := w.Warm(context.Background(), images)
	ts.Check(err)
	for _, r := range results {
		ts.Check(r.Err)
	}
	host(ts, "REGISTRY").Forget()
}

// rewind DIR DURATION makes everything in a warmed directory have been warmed
// that much earlier.
func rewind(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "rewind DIR DURATION")
	by, err := time.ParseDuration(args[1])
	ts.Check(err)
	s, err := store.Open(ts.MkAbs(args[0]), store.Options{})
	ts.Check(err)
	refs, err := s.Refs()
	ts.Check(err)
	for _, r := range refs {
		r.ResolvedAt = r.ResolvedAt.Add(-by)
		ts.Check(s.SetRef(r))
	}
}

// spoilBlobs DIR damages every layer in a warmed directory, and the files unpacked of it.
func spoilBlobs(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "spoil DIR")
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "blobs", "sha256", "*"))
	ts.Check(err)
	for _, p := range found {
		b, err := os.ReadFile(p)
		ts.Check(err)
		if !json.Valid(b) {
			b[len(b)/2] ^= 1
			ts.Check(os.WriteFile(p, b, 0o600))
		}
	}
	ts.Check(filepath.WalkDir(filepath.Join(ts.MkAbs(args[0]), "trees"), func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() != "note" {
			return os.WriteFile(p, []byte("spoiled"), 0o600)
		}
		return err
	}))
}

// kanikoCache DIR REF layout|tar puts an image where kaniko's warmer would, and its
// digest into $KANIKO.
func kanikoCache(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 3, "kanikocache DIR REF layout|tar")
	_, rest, _ := strings.Cut(args[1], "/")
	img := host(ts, "REGISTRY").Image(stageOf(ts), rest)
	d, err := img.Digest()
	ts.Check(err)
	path := filepath.Join(ts.MkAbs(args[0]), d.String())
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Setenv("KANIKO", d.String())
	if args[2] == "layout" {
		_, err := layout.Write(path, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img}))
		ts.Check(err)
		return
	}
	tag, err := name.NewTag("x:y")
	ts.Check(err)
	ts.Check(tarball.WriteToFile(path, tag, img))
	raw, err := img.RawManifest()
	ts.Check(err)
	ts.Check(os.WriteFile(path+".json", raw, 0o600))
}
