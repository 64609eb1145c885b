package bases

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// busybox is one static binary and its links: enough for a RUN, and small enough to be compared whole.
var busybox = recipe{
	refs: []string{"busybox:latest", "busybox:stable"},
	key:  busyboxKey,
	make: func(ctx context.Context, dir string) (remote.Taggable, error) { return busyboxImage(ctx, dir) },
}

// busyboxDocker is the same image in Docker's media types.
var busyboxDocker = recipe{
	refs: []string{"busybox:docker"},
	key:  busyboxKey,
	make: func(ctx context.Context, dir string) (remote.Taggable, error) {
		img, err := busyboxImage(ctx, dir)
		if err != nil {
			return nil, err
		}
		return asDocker(img)
	},
}

// multiarch is an index of three platforms. Every image has this machine's busybox and differs in /etc/arch, so that
// a build for another platform can be told apart, and even run, without emulation.
var multiarch = recipe{
	refs: []string{"multiarch:latest"},
	key:  busyboxKey,
	make: func(ctx context.Context, dir string) (remote.Taggable, error) {
		img, err := busyboxImage(ctx, dir)
		if err != nil {
			return nil, err
		}
		return index(dir, img, v1.Platform{OS: "linux", Architecture: "amd64"},
			v1.Platform{OS: "linux", Architecture: "arm64"}, v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"})
	},
}

func busyboxKey(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "apt-cache", "policy", "busybox-static")
	if err != nil {
		return "", err
	}
	_, version, _ := strings.Cut(string(out), "Candidate: ")
	version, _, _ = strings.Cut(version, "\n")
	if version == "" || version == "(none)" {
		return "", errors.New("apt knows no package busybox-static: run apt-get update")
	}
	return keyOf("busybox 3", version), nil
}

func busyboxImage(ctx context.Context, dir string) (v1.Image, error) {
	binary, err := busyboxBinary(ctx, dir)
	if err != nil {
		return nil, err
	}
	list, err := output(ctx, dir, binary, "--list")
	if err != nil {
		return nil, err
	}
	layer, err := writeLayer(filepath.Join(dir, "busybox.tar.gz"), func(tw *tar.Writer) error {
		return fillBusybox(tw, binary, strings.Fields(string(list)))
	})
	if err != nil {
		return nil, err
	}
	return newImage(v1.Config{
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Cmd: []string{"sh"},
	}, layer)
}

func busyboxBinary(ctx context.Context, dir string) (string, error) {
	// As root apt drops to its own user for the download, which then must be able to write here.
	if err := os.Chmod(dir, 0o777); err != nil {
		return "", err
	}
	if _, err := output(ctx, dir, "apt-get", "download", "-q", "busybox-static"); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, "busybox-static_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get download left %d packages", len(found))
	}
	if _, err := output(ctx, dir, "dpkg-deb", "-x", found[0], filepath.Join(dir, "deb")); err != nil {
		return "", err
	}
	for _, path := range []string{"bin/busybox", "usr/bin/busybox"} {
		full := filepath.Join(dir, "deb", path)
		if _, err := os.Stat(full); err == nil {
			return full, nil
		}
	}
	return "", errors.New("package busybox-static has no busybox")
}

func fillBusybox(tw *tar.Writer, binary string, applets []string) error {
	dirs := []struct {
		name string
		mode int64
	}{
		{"bin/", 0o755},
		{"dev/", 0o755},
		{"etc/", 0o755},
		{"home/", 0o755},
		{"root/", 0o700},
		{"tmp/", 0o1777},
		{"proc/", 0o755},
		{"sys/", 0o755},
		{"usr/", 0o755},
		{"usr/bin/", 0o755},
		{"usr/sbin/", 0o755},
		{"var/", 0o755},
		{"var/spool/", 0o755},
	}
	for _, d := range dirs {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: d.name, Mode: d.mode, ModTime: born}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	info, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	files := map[string]string{
		"bin/busybox": string(info),
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n" +
			"www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
		"etc/group": "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:www-data\nnobody:x:65534:\n",
	}
	for _, n := range []string{"bin/busybox", "etc/group", "etc/passwd"} {
		if err := addText(tw, n, files[n]); err != nil {
			return err
		}
	}
	for _, a := range applets {
		if err := addApplet(tw, a); err != nil {
			return err
		}
	}
	return nil
}

// addApplet makes a hard link, as published busybox images have them; env also stands where scripts look for it.
func addApplet(tw *tar.Writer, applet string) error {
	if applet == "busybox" {
		return nil
	}
	h := &tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + applet, Linkname: "bin/busybox", Mode: 0o755, ModTime: born}
	if err := tw.WriteHeader(h); err != nil || applet != "env" {
		return err
	}
	return tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "../../bin/env", Mode: 0o777, ModTime: born,
	})
}

func addText(tw *tar.Writer, name, content string) error {
	mode := int64(0o644)
	if strings.HasPrefix(name, "bin/") {
		mode = 0o755
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: born}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(tw, content)
	return err
}

func asDocker(img v1.Image) (v1.Image, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	docker := empty.Image // Docker's media types are ggcr's usual ones
	for i, l := range layers {
		add := mutate.Addendum{Layer: l, History: file.History[i], MediaType: types.DockerLayer}
		if docker, err = mutate.Append(docker, add); err != nil {
			return nil, err
		}
	}
	return mutate.ConfigFile(docker, file)
}

func index(dir string, img v1.Image, platforms ...v1.Platform) (v1.ImageIndex, error) {
	all := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		layer, err := writeLayer(filepath.Join(dir, p.Architecture+".tar.gz"), func(tw *tar.Writer) error {
			return addText(tw, "etc/arch", p.Architecture+p.Variant+"\n")
		})
		if err != nil {
			return nil, err
		}
		row := v1.History{Created: v1.Time{Time: born}, CreatedBy: "platform"}
		one, err := mutate.Append(img, mutate.Addendum{Layer: layer, History: row, MediaType: types.OCILayer})
		if err != nil {
			return nil, err
		}
		file, err := one.ConfigFile()
		if err != nil {
			return nil, err
		}
		file = file.DeepCopy()
		file.OS, file.Architecture, file.Variant = p.OS, p.Architecture, p.Variant
		if one, err = mutate.ConfigFile(one, file); err != nil {
			return nil, err
		}
		all = mutate.AppendManifests(all, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return all, nil
}

// output runs a program of the machine and returns what it printed; its complaint becomes the error.
func output(ctx context.Context, dir string, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", strings.Join(argv, " "), err, complaint.Bytes())
	}
	return out, nil
}
