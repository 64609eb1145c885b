package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/op/source"
)

// Dockerfile is a source for a Dockerfile that is not in a file: ref is "-" for
// standard input, or an http or https URL. ok is false for a path. The context
// that it fetches has nothing in it but a file of that name.
func Dockerfile(ref string, stdin io.Reader) (s Source, ok bool) {
	if ref == "-" || strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://") {
		return &dockerfile{ref: ref, stdin: stdin}, true
	}
	return nil, false
}

type dockerfile struct {
	ref   string
	stdin io.Reader
}

// Fetch implements Source.
func (d *dockerfile) Fetch(ctx context.Context, m Means) (_ *Context, err error) {
	name, in := "standard input", io.NopCloser(d.stdin)
	if d.ref != "-" {
		name = shown(d.ref)
		if in, err = source.OpenHTTP(ctx, client(m), source.HTTPRequest{URL: d.ref, Secrets: m.Secrets}); err != nil {
			return nil, fmt.Errorf("Dockerfile %s: %w", name, err)
		}
	} else if d.stdin == nil {
		return nil, errors.New("read the Dockerfile: there is no standard input")
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDockerfile+1))
	switch err = errors.Join(err, in.Close()); {
	case err != nil:
		return nil, fmt.Errorf("Dockerfile %s: %w", name, err)
	case len(text) > maxDockerfile:
		return nil, fmt.Errorf("Dockerfile %s: more than %d bytes", name, maxDockerfile)
	}
	return &Context{Table: oneFile(text), Origin: fmt.Sprintf("%s (%s)", name, digest.FromBytes(text))}, nil
}
