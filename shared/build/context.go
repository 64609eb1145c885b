package build

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/strake-build/strake/shared/buildcontext"
	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/run"
	"github.com/strake-build/strake/shared/tree"
)

const defaultDockerfile = "Dockerfile"

// checkContext tells whether a context that is a directory is there.
func checkContext(req *Request) error {
	if req.Frontend.MainContext != "" {
		return nil
	}
	fi, err := os.Stat(req.Context)
	if err != nil {
		return fmt.Errorf("build context %s: %w: %w", req.Context, ErrNoContext, err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("build context %s: %w: not a directory", req.Context, ErrNoContext)
	}
	return nil
}

// gather fetches what is not here of the context and the Dockerfile, and finds
// the Dockerfile, which may be named relative to the working directory or to
// the context.
func (e *engine) gather(ctx context.Context) error {
	var fetched *layer.Table
	if e.req.Source != nil {
		c, err := e.fetch(ctx, e.req.Source, "context")
		if err != nil {
			return err
		}
		e.origins.fetchedContext(c)
		if e.req.Context, fetched = c.Dir, c.Table; fetched == nil {
			if err := checkContext(&e.req); err != nil {
				return err
			}
		}
	}
	sources := e.worker.Sources
	if sources.Locals["context"] = e.req.Context; fetched != nil {
		sources.Tables["context"] = fetched
	}
	if e.req.DockerfileSource != nil {
		return e.fetchDockerfile(ctx)
	}
	switch {
	case fetched != nil:
		return e.locateFetched(fetched)
	case e.req.Frontend.MainContext != "":
		e.locateRemote()
	default:
		if err := e.locate(); err != nil {
			return err
		}
	}
	sources.Locals["dockerfile"] = filepath.Dir(e.req.Dockerfile)
	return nil
}

// fetch gets a context into the workspace, and says what came.
func (e *engine) fetch(ctx context.Context, s buildcontext.Source, what string) (*buildcontext.Context, error) {
	dir, err := e.workspace.NewDir()
	if err != nil {
		return nil, err
	}
	m := buildcontext.Means{Dir: dir, Registry: e.b.Registry, Secrets: e.secret}
	m.Dial = func(id string) (io.ReadWriteCloser, bool, error) { return e.dial(ctx, id) }
	c, err := s.Fetch(ctx, m)
	if err != nil {
		return nil, err
	}
	if c.Origin != "" {
		logger(ctx).Info().Msgf("%s from %s", what, c.Origin)
	}
	for _, n := range c.Notices {
		logger(ctx).Warn().Msgf("%s: %s", what, n)
	}
	return c, nil
}

// dial connects to an ssh agent.
func (e *engine) dial(ctx context.Context, id string) (io.ReadWriteCloser, bool, error) {
	for _, agents := range []run.Agents{e.req.ContextSSH, e.req.SSH} {
		if agents == nil {
			continue
		}
		if c, ok, err := agents.Dial(ctx, id); ok || err != nil {
			return c, ok, err
		}
	}
	return nil, false, nil
}

func (e *engine) secret(id string) ([]byte, bool) {
	if e.req.Secrets == nil {
		return nil, false
	}
	v, ok, err := e.req.Secrets.Secret(id)
	return v, ok && err == nil
}

// fetchDockerfile gets the Dockerfile itself.
func (e *engine) fetchDockerfile(ctx context.Context) error {
	c, err := e.fetch(ctx, e.req.DockerfileSource, "Dockerfile")
	if err != nil {
		return err
	}
	e.worker.Sources.Tables["dockerfile"] = c.Table
	e.req.Frontend.Filename = defaultDockerfile
	if e.req.Frontend.MainContext != "" {
		e.option("dockerfilekey", "dockerfile")
	}
	return nil
}

func (e *engine) option(key, value string) {
	if e.req.Frontend.Opts == nil {
		e.req.Frontend.Opts = make(map[string]string)
	}
	e.req.Frontend.Opts[key] = value
}

// locate finds the Dockerfile of a context on this machine.
func (e *engine) locate() error {
	req := &e.req
	tried := []string{req.Dockerfile}
	if !filepath.IsAbs(req.Dockerfile) {
		tried = append(tried, filepath.Join(req.Context, req.Dockerfile))
	}
	if req.Dockerfile == defaultDockerfile { // nobody gave a name: the context's counts
		tried = tried[1:]
	}
	if dir, name := filepath.Split(tried[len(tried)-1]); name == defaultDockerfile { // in either spelling
		tried = append(tried, filepath.Join(dir, "dockerfile"))
	}
	for _, p := range tried {
		if isFile(p) {
			req.Dockerfile = p
			req.Frontend.Filename = filepath.Base(p)
			return nil
		}
	}
	return fmt.Errorf("find Dockerfile %s: %w, neither as a path nor in the context %s", req.Dockerfile, ErrNoContext, req.Context)
}

func isFile(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && !fi.IsDir()
}

// locateFetched finds the Dockerfile of a context that was fetched: at a path
// here, or in the context.
func (e *engine) locateFetched(t *layer.Table) error {
	req, sources := &e.req, e.worker.Sources
	if req.Dockerfile != defaultDockerfile && isFile(req.Dockerfile) {
		sources.Locals["dockerfile"] = filepath.Dir(req.Dockerfile)
		req.Frontend.Filename = filepath.Base(req.Dockerfile)
		return nil
	}
	sources.Tables["dockerfile"] = t
	files := tree.NewView(t).FS()
	name := path.Clean("/" + req.Dockerfile)[1:]
	for _, p := range []string{name, path.Join(path.Dir(name), "dockerfile")} {
		if p != name && path.Base(name) != defaultDockerfile {
			break
		}
		if fi, err := fs.Stat(files, p); err == nil && !fi.IsDir() {
			req.Frontend.Filename = p
			return nil
		}
	}
	return fmt.Errorf("find Dockerfile %s: %w, neither as a path nor in the context that was fetched", req.Dockerfile, ErrNoContext)
}

// locateRemote leaves finding the Dockerfile in a remote context to the
// frontend, unless it names a file here.
func (e *engine) locateRemote() {
	req := &e.req
	switch {
	case req.Dockerfile == defaultDockerfile:
	case isFile(req.Dockerfile):
		req.Frontend.Filename = filepath.Base(req.Dockerfile)
		e.option("dockerfilekey", "dockerfile")
	default:
		req.Frontend.Filename = strings.TrimPrefix(strings.TrimPrefix(req.Dockerfile, req.Frontend.MainContext), "/")
	}
}
