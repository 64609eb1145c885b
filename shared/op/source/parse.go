// Package source fetches what a build starts from: directories, files from the web, git repositories, images in OCI layouts.
//
// Each becomes a table of contents whose bytes stay where they are until
// somebody reads them. The meaning of identifiers and attributes is that of
// BuildKit's sources; what this package does not know it refuses by name.
package source

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/graph"
)

// Request says what a graph.Source names. It is one of *ImageRequest,
// *LocalRequest, *HTTPRequest, *GitRequest and *LayoutRequest.
type Request interface{ Kind() Kind }

// Kind is the kind of a source; its text is the scheme of the identifier.
type Kind string

// The kinds of sources. HTTP stands for https, too.
const (
	KindImage  Kind = "docker-image"
	KindLocal  Kind = "local"
	KindHTTP   Kind = "http"
	KindGit    Kind = "git"
	KindLayout Kind = "oci-layout"
)

// Kind returns KindImage.
func (*ImageRequest) Kind() Kind { return KindImage }

// Kind returns KindLocal.
func (*LocalRequest) Kind() Kind { return KindLocal }

// Kind returns KindHTTP.
func (*HTTPRequest) Kind() Kind { return KindHTTP }

// Kind returns KindGit.
func (*GitRequest) Kind() Kind { return KindGit }

// Kind returns KindLayout.
func (*LayoutRequest) Kind() Kind { return KindLayout }

// ImageRequest asks for an image from a registry.
type ImageRequest struct {
	Ref string
	// ResolveMode is "default", "pull" or "local".
	ResolveMode string
	Checksum    digest.Digest // what Ref must resolve to, or empty
	// LayerLimit is how many layers from the bottom are wanted, -1 for all.
	LayerLimit int
}

// LocalRequest asks for a directory that the user has given a name.
type LocalRequest struct {
	Name   string
	Filter Filter
}

// LayoutRequest asks for an image from an OCI layout on disk.
type LayoutRequest struct {
	// Ref is "name@sha256:…"; the name says nothing.
	Ref string
	// Store is the name that the user has given the layout.
	Store string
	// LayerLimit is how many layers from the bottom are wanted, -1 for all.
	LayerLimit int
}

// Parse says what s asks for. The fields of the answer that are not about what
// is wanted but about how to get it (directories, secrets, times) are empty.
func Parse(s *graph.Source) (Request, error) {
	scheme, rest, ok := strings.Cut(s.Identifier, "://")
	if !ok {
		return nil, fmt.Errorf("source %q: no scheme", s.Identifier)
	}
	var req Request
	var err error
	a := &attrs{m: s.Attrs, seen: make(map[string]bool)}
	switch scheme {
	case "docker-image":
		req, err = parseImage(rest, a)
	case "local":
		req, err = parseLocal(rest, a)
	case "http", "https":
		req, err = parseHTTP(s.Identifier, a)
	case "git":
		req, err = parseGit(rest, a)
	case "oci-layout":
		req, err = parseLayout(rest, a)
	default:
		return nil, fmt.Errorf("source %s: kind %q is not supported", bare(s.Identifier), scheme)
	}
	if err == nil {
		err = a.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", bare(s.Identifier), err)
	}
	return req, nil
}

func parseImage(ref string, a *attrs) (Request, error) {
	r := &ImageRequest{Ref: ref, ResolveMode: a.one(attrImageResolveMode, "default", "pull", "local"), LayerLimit: a.limit(attrImageLayerLimit)}
	if r.ResolveMode == "" {
		r.ResolveMode = "default"
	}
	r.Checksum = a.digest(attrImageChecksum)
	a.ignore(attrImageRecordType)
	if ref == "" {
		return nil, fmt.Errorf("no image is named")
	}
	return r, nil
}

func parseLocal(name string, a *attrs) (Request, error) {
	r := &LocalRequest{Name: name, Filter: Filter{
		Include: a.list(attrLocalInclude),
		Exclude: a.list(attrLocalExclude),
		Follow:  a.list(attrLocalFollow),
	}}
	// These are about a client that sends its files to a daemon.
	a.ignore(attrLocalSession, attrLocalUnique, attrLocalSharedKeyHint, attrLocalDiffer)
	if a.flag(attrLocalMetadataOnly) {
		return nil, fmt.Errorf("%s is not supported", attrLocalMetadataOnly)
	}
	return r, nil
}

func parseHTTP(url string, a *attrs) (Request, error) {
	r := &HTTPRequest{
		URL:        url,
		Filename:   a.text(attrHTTPFilename),
		Checksum:   a.digest(attrHTTPChecksum),
		Mode:       a.number(attrHTTPPerm),
		UID:        a.number(attrHTTPUID),
		GID:        a.number(attrHTTPGID),
		AuthSecret: a.text(attrHTTPAuthSecret),
	}
	for k, v := range a.m {
		name, ok := strings.CutPrefix(k, attrHTTPHeaderPrefix)
		if !ok || (!strings.EqualFold(name, "accept") && !strings.EqualFold(name, "user-agent")) {
			continue // finish complains about it
		}
		a.ignore(k)
		if r.Header == nil {
			r.Header = make(map[string]string)
		}
		r.Header[name] = v
	}
	return r, nil
}

func parseLayout(ref string, a *attrs) (Request, error) {
	r := &LayoutRequest{Ref: ref, Store: a.text(attrLayoutStore), LayerLimit: a.limit(attrLayoutLayerLimit)}
	a.ignore(attrLayoutSession)
	name, dgst, ok := strings.Cut(ref, "@")
	if !ok {
		return nil, fmt.Errorf("no digest is named")
	}
	if _, err := digest.Parse(dgst); err != nil {
		return nil, fmt.Errorf("digest %q: %w", dgst, err)
	}
	if r.Store == "" {
		r.Store = name
	}
	return r, nil
}

// attrs reads attributes, and remembers which ones were asked for and the first
// that made no sense.
type attrs struct {
	m    map[string]string
	seen map[string]bool
	err  error
}

func (a *attrs) text(k string) string {
	a.seen[k] = true
	return a.m[k]
}

func (a *attrs) ignore(keys ...string) {
	for _, k := range keys {
		a.seen[k] = true
	}
}

func (a *attrs) fail(k string, err error) {
	if a.err == nil {
		a.err = fmt.Errorf("attribute %s=%q: %w", k, a.m[k], err)
	}
}

func (a *attrs) flag(k string) bool {
	v := a.text(k)
	if v == "" {
		return false
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		a.fail(k, fmt.Errorf("neither true nor false"))
	}
	return b
}

func (a *attrs) one(k string, values ...string) string {
	v := a.text(k)
	if v != "" && !slices.Contains(values, v) {
		a.fail(k, fmt.Errorf("not one of %s", strings.Join(values, ", ")))
	}
	return v
}

func (a *attrs) list(k string) []string {
	v := a.text(k)
	if v == "" {
		return nil
	}
	var out []string
	if err := json.Unmarshal([]byte(v), &out); err != nil {
		a.fail(k, err)
	}
	return out
}

func (a *attrs) number(k string) uint32 {
	v := a.text(k)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 0, 32) // as BuildKit: "0640" is octal
	if err != nil {
		a.fail(k, err)
	}
	return uint32(n)
}

func (a *attrs) limit(k string) int {
	v := a.text(k)
	if v == "" {
		return -1
	}
	n, err := strconv.Atoi(v)
	if err != nil || n <= 0 {
		a.fail(k, fmt.Errorf("not a number of layers"))
	}
	return n
}

func (a *attrs) digest(k string) digest.Digest {
	v := a.text(k)
	if v == "" {
		return ""
	}
	d, err := digest.Parse(v)
	if err != nil {
		a.fail(k, err)
	}
	return d
}

// finish complains about what nobody asked for.
func (a *attrs) finish() error {
	if a.err != nil {
		return a.err
	}
	var unknown []string
	for k := range a.m {
		if !a.seen[k] {
			unknown = append(unknown, k)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("not supported: attribute %s", strings.Join(unknown, ", "))
	}
	return nil
}
