package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Needed is an image that a build asks for.
type Needed struct {
	ImageQuery
	// Err is why the engine could not resolve it, or nil.
	Err error
}

// Images lists the images that a build would fetch, for all its platforms, in the
// order of their names: those of FROM, of COPY --from and of RUN --mount, with
// arguments expanded, and those that ONBUILD adds. Names of stages and of named
// contexts are none. An image that the engine cannot resolve is listed with the
// reason, and the search goes on; what its ONBUILD would ask for is not known then.
func Images(ctx context.Context, req Request, e Engine) ([]Needed, error) {
	out, _, err := Everything(ctx, req, e)
	return out, err
}

// Everything is Images, with the build as it would be if those images that are not
// known had neither ONBUILD nor environment.
func Everything(ctx context.Context, req Request, e Engine) ([]Needed, *Result, error) {
	rec := &recorder{Engine: e, seen: make(map[string]*Needed)}
	res, err := Build(ctx, req, rec, nil)
	if err != nil {
		return nil, nil, err
	}
	out := make([]Needed, 0, len(rec.seen))
	for _, n := range rec.seen {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b Needed) int { return strings.Compare(a.key(), b.key()) })
	return out, res, nil
}

// AllImages is Images for every stage that can be a target: those with a name,
// and the last.
func AllImages(ctx context.Context, req Request, e Engine) ([]Needed, error) {
	r, err := Targets(ctx, req, e)
	if err != nil {
		return nil, err
	}
	var list struct {
		Targets []struct {
			Name string `json:"name"`
		} `json:"targets"`
	}
	if err := json.Unmarshal(r.JSON, &list); err != nil {
		return nil, fmt.Errorf("read the list of stages: %w", err)
	}
	seen := make(map[string]bool)
	var out []Needed
	for n, t := range list.Targets {
		if t.Name == "" && n < len(list.Targets)-1 {
			continue
		}
		req.Target = t.Name
		found, err := Images(ctx, req, e)
		if err != nil {
			return nil, err
		}
		for _, i := range found {
			if !seen[i.key()] {
				seen[i.key()] = true
				out = append(out, i)
			}
		}
	}
	return out, nil
}

func (q *ImageQuery) key() string {
	p := ""
	if q.Platform != nil {
		p = platforms.FormatAll(platforms.Normalize(*q.Platform))
	}
	return strings.Join([]string{q.Ref, p, q.Layout}, " ")
}

// recorder writes down what the frontend asks for.
type recorder struct {
	Engine
	mu   sync.Mutex
	seen map[string]*Needed
}

func (r *recorder) ImageConfig(ctx context.Context, q ImageQuery) (*Image, error) {
	img, err := r.Engine.ImageConfig(ctx, q)
	if cerr := context.Cause(ctx); cerr != nil {
		return nil, errors.Join(err, cerr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[q.key()] = &Needed{q, err}
	if err == nil {
		return img, nil
	}
	return blank(q.Platform)
}

// blank stands for an image that nobody knows.
func blank(p *ocispecs.Platform) (*Image, error) {
	spec := platforms.DefaultSpec()
	if p != nil {
		spec = *p
	}
	config, err := json.Marshal(ocispecs.Image{Platform: spec, RootFS: ocispecs.RootFS{Type: "layers"}})
	return &Image{Config: config}, err
}
