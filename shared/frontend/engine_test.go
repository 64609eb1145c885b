package frontend_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/strake-build/strake/shared/frontend"
	"github.com/strake-build/strake/shared/graph"
)

// archiveEngine answers from a txtar archive: files at its root are those of
// the local source "dockerfile", NAME/… those of other local sources, git/…
// those of any git source, http/… what any URL gives, and images/REF.json the
// config of an image, where REF is what follows docker.io/library/.
type archiveEngine struct {
	*txtar.Archive

	mu     sync.Mutex
	asked  []string // images
	opened []string // identifiers of sources
	closed int
}

var errNoImage = fmt.Errorf("no such image")

func (e *archiveEngine) ImageConfig(ctx context.Context, q frontend.ImageQuery) (*frontend.Image, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, q.Ref)
	if strings.Contains(q.Ref, "missing") {
		return nil, fmt.Errorf("resolve %s: %w", q.Ref, errNoImage)
	}
	img := map[string]any{
		"os": "linux", "architecture": "amd64",
		"config": map[string]any{"Env": []string{"PATH=/bin:/usr/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromString(q.Ref).String()}},
	}
	if q.Platform != nil {
		img["os"], img["architecture"], img["variant"] = q.Platform.OS, q.Platform.Architecture, q.Platform.Variant
	}
	name := strings.TrimPrefix(q.Ref, "docker.io/library/")
	if data, ok := e.files("images")[name+".json"]; ok {
		var over map[string]any
		if err := json.Unmarshal(data.Data, &over); err != nil {
			return nil, err
		}
		maps.Copy(img, over)
	}
	config, err := json.Marshal(img)
	return &frontend.Image{Digest: digest.FromString("index of " + q.Ref), Config: config}, err
}

// closer counts how often it was closed.
type closer struct {
	fs.FS
	e *archiveEngine
}

func (c closer) Close() error {
	c.e.closed++
	return nil
}

func (e *archiveEngine) Open(_ context.Context, g *graph.Graph) (fs.FS, error) {
	src, ok := g.Vertices[0].Op.(*graph.Source)
	if !ok {
		return nil, fmt.Errorf("open %s: no source", g.Text())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = append(e.opened, src.Identifier)
	scheme, name, _ := strings.Cut(src.Identifier, "://")
	var files fstest.MapFS
	switch {
	case scheme == "local" && name == "dockerfile":
		files = e.files("")
	case scheme == "local":
		files = e.files(name)
	case scheme == "git":
		files = e.files("git")
	default:
		files = fstest.MapFS{src.Attrs["http.filename"]: e.files("http")["file"]}
	}
	return closer{files, e}, nil
}

// files gives the files below a directory of the archive.
func (e *archiveEngine) files(dir string) fstest.MapFS {
	out := make(fstest.MapFS)
	for _, f := range e.Files {
		name, ok := strings.CutPrefix(path.Clean("/"+f.Name), path.Clean("/"+dir))
		if ok {
			out[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
		}
	}
	return out
}

func (e *archiveEngine) SourceTime(_ context.Context, src *graph.Source) (*time.Time, error) {
	at := time.Unix(1234567890, 0)
	if strings.Contains(src.Identifier, "undated") {
		return nil, nil
	}
	return &at, nil
}

// host is what the cases run on, whatever the tests do.
func host() *ocispecs.Platform {
	return &ocispecs.Platform{OS: "linux", Architecture: "amd64"}
}
