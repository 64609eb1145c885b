package bases

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// born is the date of files and images that have none of their own: a fixed one, as in published images.
var born = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// writeLayer writes a gzipped tar to path and reads it back as a layer.
func writeLayer(path string, fill func(*tar.Writer) error) (v1.Layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	zip, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(zip)
	err = fill(tw)
	if err := errors.Join(err, tw.Close(), zip.Close(), buffered.Flush(), f.Close()); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return tarball.LayerFromFile(path, tarball.WithMediaType(types.OCILayer))
}

// newImage is an image of the layers, with a history row for each, as published images have it.
func newImage(cfg v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for i, l := range layers {
		var err error
		row := v1.History{Created: v1.Time{Time: born}, CreatedBy: fmt.Sprintf("base layer %d", i), Comment: "made from packages"}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: row, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS = runtime.GOARCH, "linux"
	file.Created = v1.Time{Time: born}
	file.Config = cfg
	return mutate.ConfigFile(img, file)
}

// copyTar passes on the entries that keep wants, and lets it change them.
func copyTar(tw *tar.Writer, r io.Reader, keep func(*tar.Header) bool) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !keep(h) {
			continue
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}

// addFolder writes the folder of this machine below the name in the image, owned by root.
func addFolder(tw *tar.Writer, folder, in string, skip func(rel string) bool) error {
	return filepath.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if skip(rel) {
			if info.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		return addEntry(tw, path, filepath.Join(in, rel), info)
	})
}

func addEntry(tw *tar.Writer, path, as string, info os.FileInfo) error {
	var link string
	if info.Mode()&os.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = as, 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}
