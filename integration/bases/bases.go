// Package bases makes the base images that tests, benchmarks and the demo build on, out of Debian's packages and the
// machine's own Go toolchain, so that no public registry is needed. It keeps them in a registry store.
package bases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/strake-build/strake/integration/loopback"
)

// recipe is one base image: what it depends on, and how to make it.
type recipe struct {
	refs []string // repository:tag, below the registry; the first one names the recipe
	key  func(ctx context.Context) (string, error)
	make func(ctx context.Context, dir string) (remote.Taggable, error)
}

func recipes() []recipe {
	return []recipe{busybox, busyboxDocker, multiarch, debian, toolbox, golang, node}
}

// Names lists every base image that Ensure can make, as repository:tag.
func Names() []string {
	var names []string
	for _, r := range recipes() {
		names = append(names, r.refs[0])
	}
	return names
}

// DefaultDir is where the base images are kept if nobody says otherwise.
func DefaultDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(cache, "strake", "bases"), nil
}

// Ensure makes those of the named images (all, if none is named) that dir has not yet or that are out of date, and
// opens the store. Several processes may call it at once. Progress goes to log, a line per image made.
func Ensure(ctx context.Context, dir string, log io.Writer, names ...string) (*loopback.Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "recipes"), 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	store, err := loopback.OpenStore(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	for _, r := range recipes() {
		if len(names) > 0 && !slices.Contains(names, r.refs[0]) {
			continue
		}
		if err := r.ensure(ctx, dir, store, log); err != nil {
			return nil, fmt.Errorf("make base image %s: %w", r.refs[0], err)
		}
	}
	return store, nil
}

// lock keeps other processes from making the same images at the same time.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { f.Close() }, nil
}

func (r recipe) ensure(ctx context.Context, dir string, store *loopback.Store, log io.Writer) error {
	key, err := r.key(ctx)
	if err != nil {
		return err
	}
	stamp := filepath.Join(dir, "recipes", strings.ReplaceAll(r.refs[0], ":", "@"))
	if old, err := os.ReadFile(stamp); err == nil && string(old) == key {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fmt.Fprintf(log, "making base image %s\n", r.refs[0])
	tmp, err := os.MkdirTemp(dir, "make-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	img, err := r.make(ctx, tmp)
	if err != nil {
		return err
	}
	if err := push(ctx, store, img, r.refs); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(key), 0o644)
}

// push hands the image to a registry of the store that lives as long as the push.
func push(ctx context.Context, store *loopback.Store, img remote.Taggable, refs []string) error {
	srv, err := loopback.Listen(ctx, 0, &loopback.Handler{Store: store})
	if err != nil {
		return err
	}
	defer srv.Close()
	for _, r := range refs {
		ref, err := name.ParseReference(srv.Addr+"/library/"+r, name.Insecure)
		if err != nil {
			return err
		}
		if err := remote.Push(ref, img, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("store %s: %w", r, err)
		}
	}
	return nil
}

// keyOf names a recipe's state. Raise the version in parts when the recipe itself changes.
func keyOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
