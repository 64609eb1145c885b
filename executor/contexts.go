package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// layoutScheme marks a named context that is an image in an OCI layout.
const layoutScheme = "oci-layout://"

// namedContext reads one --build-context: what is no URL is a directory.
func (p *parser) namedContext(name, v string, locals, layouts map[string]string) string {
	if spec, ok := strings.CutPrefix(v, layoutScheme); ok {
		dir, digest, err := splitLayout(spec)
		if err != nil {
			p.fail("--build-context %s=%s: %w", name, v, err)
		}
		key := "layout-" + strconv.Itoa(len(layouts))
		layouts[key] = dir
		return layoutScheme + key + "@" + digest
	}
	if strings.Contains(v, "://") || strings.HasPrefix(v, "git@") || strings.HasPrefix(v, "local:") {
		return v
	}
	if fi, err := os.Stat(v); err != nil || !fi.IsDir() {
		p.fail("--build-context %s=%s: not a directory", name, v)
	}
	key := "named-" + strconv.Itoa(len(locals))
	locals[key] = v
	return "local:" + key
}

// splitLayout reads DIR[:TAG][@DIGEST] and finds the digest where there is only
// a tag, or nothing: BuildKit's frontend takes layouts by digest alone.
func splitLayout(spec string) (dir, digest string, err error) {
	dir, digest, _ = strings.Cut(spec, "@")
	tag := ""
	if i := strings.LastIndex(dir, ":"); i > strings.LastIndex(dir, "/") {
		dir, tag = dir[:i], dir[i+1:]
	}
	if digest == "" {
		digest, err = layoutDigest(dir, tag)
	}
	return dir, digest, err
}

// layoutDigest finds an image in a layout by its tag. Without one it is the
// only image that there is, or the one called latest, as in buildx.
func layoutDigest(dir, tag string) (string, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return "", err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	if tag == "" && len(m.Manifests) == 1 {
		return m.Manifests[0].Digest.String(), nil
	}
	if tag == "" {
		tag = "latest"
	}
	for _, d := range m.Manifests {
		// Some tools write the whole reference there, others the tag alone.
		if ref := d.Annotations["org.opencontainers.image.ref.name"]; ref == tag || strings.HasSuffix(ref, ":"+tag) {
			return d.Digest.String(), nil
		}
	}
	return "", fmt.Errorf("no image is called %s there", tag)
}
