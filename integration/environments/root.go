package environments

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Image is a container image unpacked, as a lower directory of any number of containers.
type Image struct {
	Config v1.Config

	dir string
	// shifted is the same with the ids of a user namespace, as containerd makes it where mounts cannot be mapped. It is
	// made when it is first wanted.
	shifted string
}

// Unpack lays an image out below dir.
func Unpack(ctx context.Context, img v1.Image, dir string) (*Image, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	i := &Image{Config: file.Config, dir: filepath.Join(dir, "root")}
	if err := os.MkdirAll(i.dir, 0o755); err != nil {
		return nil, err
	}
	flat := mutate.Extract(img)
	defer flat.Close()
	cmd := exec.CommandContext(ctx, "tar", "-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", i.dir)
	cmd.Stdin = flat
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("unpack the image: %w\n%s", err, b)
	}
	return i, nil
}

// lower is the directory for a container of the environment.
func (i *Image) lower(ctx context.Context, e Environment) (string, error) {
	if !e.UserNamespace {
		return i.dir, nil
	}
	if i.shifted != "" {
		return i.shifted, nil
	}
	to := i.dir + "-shifted"
	if b, err := exec.CommandContext(ctx, "cp", "-a", i.dir, to).CombinedOutput(); err != nil {
		return "", fmt.Errorf("copy the image: %w\n%s", err, b)
	}
	if err := shift(to); err != nil {
		return "", err
	}
	i.shifted = to
	return to, nil
}

// shift gives everything below dir to the same ids in a user namespace.
func shift(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if err := os.Lchown(name, int(st.Uid)+firstID, int(st.Gid)+firstID); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		return syscall.Chmod(name, st.Mode&0o7777) // a change of owner clears setuid
	})
}

// mountRoot mounts what containerd and Docker mount: the image below, an upper directory above.
func (c *Container) mountRoot(lower string) error {
	upper, work := filepath.Join(c.dir, "upper"), filepath.Join(c.dir, "work")
	for _, d := range []string{upper, work, c.root()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	// The root of the merged view is the upper directory's. containerd and Docker make it anew; what an image says
	// of its root, they do not unpack.
	if c.env.UserNamespace {
		if err := os.Chown(upper, firstID, firstID); err != nil {
			return err
		}
	}
	if c.env.KeepsRoot {
		var st syscall.Stat_t
		if err := syscall.Stat(lower, &st); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(upper, int(st.Uid), int(st.Gid)), syscall.Chmod(upper, st.Mode&0o7777)); err != nil {
			return err
		}
	}
	options := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if err := syscall.Mount("overlay", c.root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the container's root: %w", err)
	}
	if c.env.Init {
		return initLayer(c.root())
	}
	return nil
}

// initLayer is what Docker's layer of that name does to a root: directories and empty files to mount over, and a file by
// which containers are known.
func initLayer(root string) error {
	for _, name := range []string{"dev/pts/", "dev/shm/", "proc/", "sys/", ".dockerenv", "etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/console"} {
		at := root
		for part := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
			at = filepath.Join(at, part)
			// What is no directory goes, a link included.
			if err := syscall.Unlink(at); err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.EISDIR) {
				return fmt.Errorf("make way for %s: %w", name, err)
			}
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
		} else if err := writeFile(at, "", 0o755); err != nil {
			return err
		}
	}
	return nil
}
