package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const busyboxPath = "/bin/busybox"

// busybox is a base image of this machine's own busybox, which must be static:
// there is no library beside it.
func busybox(string) (v1.Image, error) {
	f, err := elf.Open(busyboxPath)
	if err != nil {
		return nil, fmt.Errorf("a base needs a static busybox: %w", err)
	}
	defer f.Close()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		return nil, errors.Join(fmt.Errorf("%s is not static: it wants %v", busyboxPath, libs), err)
	}
	content, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, err
	}
	list, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return nil, err
	}
	files := []tar.Header{dir("bin"), dir("etc"), {Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}}
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			files = append(files, tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777})
		}
	}
	return oneLayer("linux/"+runtime.GOARCH, "", files, map[string][]byte{
		"bin/busybox": content,
		"etc/passwd":  []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"),
		"etc/group":   []byte("root:x:0:\nuser:x:1000:\n"),
	})
}

// tiny is a base image whose one file says for which platform it is.
func tiny(platform string) (v1.Image, error) {
	return oneLayer(platform, "tiny", []tar.Header{dir("etc")}, map[string][]byte{"etc/platform": []byte(platform + "\n")})
}

func dir(name string) tar.Header {
	return tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}
}

// oneLayer makes an image with one history row and a label.
func oneLayer(platform, label string, entries []tar.Header, files map[string][]byte) (v1.Image, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var errs []error
	for _, h := range entries {
		errs = append(errs, w.WriteHeader(&h))
	}
	for name, content := range files {
		errs = append(errs, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, err := w.Write(content)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, w.Close())...); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "the base's files"}})
	if err != nil {
		return nil, err
	}
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Variant = p.OS, p.Architecture, p.Variant
	c.Config.Env = []string{"PATH=/bin"}
	if label != "" {
		c.Config.Labels = map[string]string{"base": label}
	}
	return mutate.ConfigFile(img, c)
}
