package image

import (
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/strake-build/strake/shared/layer"
)

// Format is a family of media types. An image's manifest, its config and all
// its layers are of one family: registries refuse mixtures.
type Format string

// The families. The empty Format is the base image's.
const (
	OCI    Format = "oci"
	Docker Format = "docker"
)

// Media types that go-containerregistry has no names for.
const (
	dockerZstd        types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	dockerForeign     types.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	ociRestrictedZstd types.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
)

// equals are the layer types that mean the same in both families.
var equals = []struct{ oci, docker types.MediaType }{
	{types.OCIUncompressedLayer, types.DockerUncompressedLayer},
	{types.OCILayer, types.DockerLayer},
	{types.OCILayerZStd, dockerZstd},
	{types.OCIUncompressedRestrictedLayer, dockerForeign},
	{types.OCIRestrictedLayer, types.DockerForeignLayer},
}

func (f Format) manifest() types.MediaType {
	if f == Docker {
		return types.DockerManifestSchema2
	}
	return types.OCIManifestSchema1
}

func (f Format) config() types.MediaType {
	if f == Docker {
		return types.DockerConfigJSON
	}
	return types.OCIConfigJSON
}

func (f Format) index() types.MediaType {
	if f == Docker {
		return types.DockerManifestList
	}
	return types.OCIImageIndex
}

// layer gives what a layer of type t is called in this family. Only the name
// changes, so there must be an equal.
func (f Format) layer(t types.MediaType) (types.MediaType, error) {
	if f == Docker && isZstd(t) {
		return "", fmt.Errorf("media type %s: the docker image format has no zstd layers; use the oci format", t)
	}
	for _, e := range equals {
		switch {
		case t != e.oci && t != e.docker:
		case f == Docker:
			return e.docker, nil
		default:
			return e.oci, nil
		}
	}
	// An OCI manifest may hold any type; a Docker manifest may not.
	if f == Docker {
		return "", fmt.Errorf("media type %q: the docker image format has no equal", t)
	}
	return t, nil
}

// resolve chooses the family where the user left it open.
func (f Format) resolve(layers []*layer.Blob) (Format, error) {
	switch f {
	case OCI, Docker:
		return f, nil
	case "":
		return familyOf(layers), nil
	}
	return "", fmt.Errorf("image format %q: it is oci or docker", string(f))
}

// familyOf is the family of the base's layers, which are those with a
// descriptor. OCI it is where there are none, where they are mixed, and where
// Docker's family could not hold a layer.
func familyOf(layers []*layer.Blob) Format {
	format := OCI
	for _, b := range layers {
		if isZstd(b.MediaType) {
			return OCI
		}
		if b.Descriptor == nil {
			continue
		}
		if !isDocker(b.MediaType) {
			return OCI
		}
		format = Docker
	}
	return format
}

func isDocker(t types.MediaType) bool { return strings.Contains(string(t), types.DockerVendorPrefix) }

func isZstd(t types.MediaType) bool {
	return t == types.OCILayerZStd || t == dockerZstd || t == ociRestrictedZstd
}

// Convert calls a manifest, its config and its layers by the names of another
// family. What the family has no name for, annotations in Docker's included, is
// an error.
func (f Format) Convert(m v1.Manifest) (v1.Manifest, error) {
	out := *m.DeepCopy()
	out.MediaType = f.manifest()
	out.Config.MediaType = f.config()
	if f == Docker && (len(m.Annotations) > 0 || m.ArtifactType != "" || m.Subject != nil) {
		return m, errors.New("the docker image format has no place for annotations, artifact type and subject")
	}
	for i, l := range out.Layers {
		t, err := f.layer(l.MediaType)
		if err != nil {
			return m, err
		}
		out.Layers[i].MediaType = t
	}
	return out, nil
}
