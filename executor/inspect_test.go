package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// inspect WHAT IMAGE [PATH] writes something of an image to stdout. WHAT is
// config, manifest, index, digest, layers (the entries of each), files (those
// of the flattened image) or file, which is the content at PATH. IMAGE is a
// reference, tar:FILE or oci:DIR, and may end in " OS/ARCH" for one image of an
// index. With a !, there is no such image.
func inspect(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) > 1, "[!] inspect WHAT IMAGE [PATH]")
	what, path := args[0], strings.Join(args[2:], "")
	out, err := look(ts, what, args[1], path)
	if neg {
		if err == nil {
			ts.Fatalf("there is %s of %s:\n%s", what, args[1], out)
		}
		return
	}
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), out)
	ts.Check(err)
}

func look(ts *testscript.TestScript, what, ref, path string) (string, error) {
	ref, platform, _ := strings.Cut(ref, " ")
	img, idx, err := open(ts, ref)
	if err != nil {
		return "", err
	}
	if what == "index" {
		if idx == nil {
			return "", errors.New("not an index")
		}
		m, err := idx.IndexManifest()
		return indent(m, err)
	}
	if idx != nil {
		if img, err = choose(idx, platform); err != nil {
			return "", err
		}
	}
	switch what {
	case "config":
		c, err := img.ConfigFile()
		return indent(c, err)
	case "manifest":
		m, err := img.Manifest()
		return indent(m, err)
	case "digest":
		d, err := img.Digest()
		return d.String() + "\n", err
	case "layers":
		return layerLists(img)
	case "files", "file":
		return flattened(img, path)
	}
	return "", fmt.Errorf("%s is nothing that an image has", what)
}

func indent(v any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	return string(b) + "\n", err
}

// open finds an image, or an index.
func open(ts *testscript.TestScript, ref string) (v1.Image, v1.ImageIndex, error) {
	if file, ok := strings.CutPrefix(ref, "tar:"); ok {
		img, err := tarball.ImageFromPath(ts.MkAbs(file), nil)
		return img, nil, err
	}
	if dir, ok := strings.CutPrefix(ref, "oci:"); ok {
		idx, err := layout.ImageIndexFromPath(ts.MkAbs(dir))
		if err != nil {
			return nil, nil, err
		}
		m, err := idx.IndexManifest()
		if err != nil || len(m.Manifests) == 0 || !m.Manifests[0].MediaType.IsImage() {
			return nil, idx, err
		}
		img, err := idx.Image(m.Manifests[0].Digest)
		return img, nil, err
	}
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return nil, nil, err
	}
	d, err := remote.Get(r)
	if err != nil {
		return nil, nil, err
	}
	if d.MediaType.IsIndex() {
		idx, err := d.ImageIndex()
		return nil, idx, err
	}
	img, err := d.Image()
	return img, nil, err
}

func choose(idx v1.ImageIndex, platform string) (v1.Image, error) {
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range m.Manifests {
		if platform == "" || d.Platform != nil && d.Platform.String() == platform {
			return idx.Image(d.Digest)
		}
	}
	return nil, fmt.Errorf("no image for %q", platform)
}

// layerLists has a line for each entry of each layer, which begins with the
// layer's number, the lowest 0.
func layerLists(img v1.Image) (string, error) {
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return "", err
		}
		err = entries(r, func(h *tar.Header, _ io.Reader) error {
			fmt.Fprintf(&b, "%d %s\n", i, line(h))
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// flattened lists the files of an image, or gives the content of one.
func flattened(img v1.Image, path string) (string, error) {
	var lines []string
	content, found := "", false
	r := mutate.Extract(img)
	err := entries(r, func(h *tar.Header, r io.Reader) error {
		lines = append(lines, line(h))
		if path == "" || filepath.Clean("/"+h.Name) != filepath.Clean("/"+path) {
			return nil
		}
		b, err := io.ReadAll(r)
		content, found = string(b), true
		return err
	})
	switch {
	case err != nil:
		return "", err
	case path == "":
		slices.Sort(lines)
		return strings.Join(lines, "\n") + "\n", nil
	case !found:
		return "", fmt.Errorf("no file %s among\n%s", path, strings.Join(lines, "\n"))
	}
	return content, nil
}

func line(h *tar.Header) string {
	s := fmt.Sprintf("/%s %04o %d:%d %d", strings.Trim(h.Name, "/"), h.Mode&0o7777, h.Uid, h.Gid, h.ModTime.Unix())
	if h.Linkname != "" {
		s += " -> " + h.Linkname
	}
	return s
}

func entries(r io.ReadCloser, each func(*tar.Header, io.Reader) error) (err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = each(h, t)
		}
		if err != nil {
			return err
		}
	}
}
