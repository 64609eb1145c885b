package conformance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/integration/imagetree"
)

// job is a case laid out in a directory, with the servers that it asks for running.
type job struct {
	Case
	dir     string
	http    string            // address of the case's server
	layouts map[string]string // name of the context → digest of the image in it
	close   []func()
}

func newJob(ctx context.Context, c Case, dir, registry string) (*job, error) {
	j := &job{Case: c, dir: dir, layouts: map[string]string{}}
	if err := c.Write(dir); err != nil {
		return nil, err
	}
	for _, l := range c.Keys["layout"] {
		as, image, _ := strings.Cut(l, "=")
		digest, err := writeLayout(ctx, filepath.Join(dir, as), registry+"/library/"+image)
		if err != nil {
			return nil, err
		}
		j.layouts[as] = digest
	}
	if folder := c.One("http"); folder != "" {
		if err := j.serve(filepath.Join(dir, folder)); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// Close ends the case's servers.
func (j *job) Close() {
	for _, f := range j.close {
		f()
	}
}

func writeLayout(ctx context.Context, dir, image string) (string, error) {
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		return "", err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return "", err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", err
	}
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "latest"})
	if err := p.AppendImage(img, named); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	return digest.String(), err
}

// serve offers a folder over HTTP; what ends in .git speaks git's own protocol.
func (j *job) serve(folder string) error {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("find git: %w", err)
	}
	git := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + folder, "GIT_HTTP_EXPORT_ALL=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	files := http.FileServer(http.Dir(folder))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, ".git/") {
			git.ServeHTTP(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	j.http = srv.URL
	j.close = append(j.close, srv.Close)
	return nil
}

// expand puts the address of the case's server into a value.
func (j *job) expand(s string) string { return strings.ReplaceAll(s, "{HTTP}", j.http) }

// args are the build arguments, those that the harness adds included.
func (j *job) args() []string {
	var args []string
	for _, a := range j.Keys["arg"] {
		args = append(args, j.expand(a))
	}
	if j.http != "" {
		args = append(args, "HTTP="+j.http)
	}
	if e := j.One("epoch"); e != "" {
		args = append(args, "SOURCE_DATE_EPOCH="+e)
	}
	return args
}

// describe tells the images that were pushed, in the words of a golden file.
func (j *job) describe(images []imagetree.Image, base imagetree.Tree) ([]string, error) {
	opts := imagetree.Options{
		Base: base, MTimes: j.Keys["mtimes"], Created: j.One("epoch") != "",
		Media: j.One("format") != "" || j.One("compression") != "",
	}
	var lines []string
	for _, img := range images {
		if len(images) > 1 {
			lines = append(lines, "platform "+img.Platform)
		}
		one, err := imagetree.Describe(img, opts)
		if err != nil {
			return nil, err
		}
		lines = append(lines, one...)
	}
	if j.http != "" {
		for i := range lines {
			lines[i] = strings.ReplaceAll(lines[i], j.http, "{HTTP}")
		}
	}
	return lines, nil
}

// baseTree is the tree whose unchanged files a description leaves out.
func baseTree(ctx context.Context, registry string) (imagetree.Tree, error) {
	images, err := imagetree.Pull(ctx, registry+"/library/busybox:latest")
	if err != nil {
		return nil, err
	}
	var img v1.Image = images[0]
	return imagetree.Flatten(img)
}
