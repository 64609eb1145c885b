package export

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// unset names an image in an archive when the user gave no name; the same as kaniko's.
const unset = "docker.io/unset-repo/unset-image-name"

// Destination is a name of the image at a registry.
type Destination struct {
	Repository name.Repository
	// Tag is empty where the image is to be found by its digest only.
	Tag string
	// Text is the name as the user wrote it.
	Text string
}

// ParseDestination reads "[host/]path[:tag]", with Docker's defaults.
func ParseDestination(s string) (Destination, error) {
	if strings.Contains(s, "@") {
		return Destination{}, fmt.Errorf("destination %q: the digest comes from the build; give a tag or nothing", s)
	}
	t, err := name.NewTag(s, name.WeakValidation)
	if err != nil {
		return Destination{}, fmt.Errorf("destination %q: %w", s, err)
	}
	return Destination{Repository: t.Context(), Tag: t.TagStr(), Text: s}, nil
}

// String is the name in full: "index.docker.io/library/x:tag".
func (d Destination) String() string { return d.tagged(d.Repository.Name()) }

// Familiar is the repository as people write it: without docker.io, and without
// library there.
func (d Destination) Familiar() string {
	rest, ok := strings.CutPrefix(d.Repository.Name(), name.DefaultRegistry+"/")
	if !ok {
		return d.Repository.Name()
	}
	return strings.TrimPrefix(rest, "library/")
}

// docker is the name as Docker and containerd write it: "docker.io/library/x:tag".
func (d Destination) docker() string {
	repo := d.Repository.Name()
	if rest, ok := strings.CutPrefix(repo, name.DefaultRegistry+"/"); ok {
		repo = "docker.io/" + rest
	}
	return d.tagged(repo)
}

func (d Destination) tagged(repo string) string {
	if d.Tag == "" {
		return repo
	}
	return repo + ":" + d.Tag
}

// Annotations by which readers of an index.json find an image.
const (
	annotationRefName       = "org.opencontainers.image.ref.name"
	annotationContainerdRef = "io.containerd.image.name"
)

// topIndex is the index.json that names the artifact: once per name, or once
// without one.
func topIndex(a Artifact, names []Destination) (*v1.IndexManifest, error) {
	d, err := describe(a)
	if err != nil {
		return nil, err
	}
	m := &v1.IndexManifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json"}
	for _, n := range names {
		if n.Tag == "" {
			continue
		}
		e := *d.DeepCopy()
		e.Annotations = map[string]string{annotationRefName: n.Tag, annotationContainerdRef: n.docker()}
		m.Manifests = append(m.Manifests, e)
	}
	if len(m.Manifests) == 0 {
		m.Manifests = append(m.Manifests, d)
	}
	return m, nil
}
