package run

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newPrefix begins the names of directories that are being made, oldPrefix those
// of directories that are being removed.
const (
	newPrefix  = "new-"
	oldPrefix  = "old-"
	lockSuffix = ".lock"
)

// leftoverAge is how old a directory without a name must be to be nobody's.
const leftoverAge = 24 * time.Hour

// CacheInfo is the directory of a cache mount.
type CacheInfo struct {
	Name string    `json:"name"`
	Used time.Time `json:"used"`
	Size int64     `json:"size"` // on the disk
}

// List tells of the directories of cache mounts, those longest unused first.
func (c *Caches) List() ([]CacheInfo, error) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []CacheInfo
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			continue
		}
		i := CacheInfo{Name: e.Name(), Size: diskUsage(filepath.Join(c.Dir, e.Name()))}
		if fi, err := os.Stat(filepath.Join(c.Dir, e.Name()+lockSuffix)); err == nil {
			i.Used = fi.ModTime()
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b CacheInfo) int { return cmp.Or(a.Used.Compare(b.Used), cmp.Compare(a.Name, b.Name)) })
	return out, nil
}

// diskUsage is what a directory takes on the disk.
func diskUsage(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be seen counts for nothing
		}
		fi, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
		return nil
	})
	return n
}

// Collect removes directories that no step has used for maxAge, and then those
// longest unused until the rest has no more than maxSize bytes; 0 is no limit. What
// builds that were killed have left goes, too; what a step has is left alone. It
// returns what was removed; with dry set, what would be.
func (c *Caches) Collect(ctx context.Context, maxAge time.Duration, maxSize int64, dry bool) ([]CacheInfo, error) {
	list, err := c.List()
	if err != nil {
		return nil, err
	}
	var total int64
	for _, i := range list {
		total += i.Size
	}
	var out []CacheInfo
	for _, i := range list {
		if err := context.Cause(ctx); err != nil {
			return out, err
		}
		old := maxAge > 0 && time.Since(i.Used) > maxAge
		if !old && (maxSize <= 0 || total <= maxSize) {
			continue
		}
		gone, err := c.remove(i.Name, i.Name, dry)
		if err != nil {
			return out, err
		}
		if gone {
			out = append(out, i)
			total -= i.Size
		}
	}
	return out, c.leftovers(dry)
}

// remove takes a directory away, unless a step has the lock of that name.
func (c *Caches) remove(dir, lock string, dry bool) (bool, error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, lock+lockSuffix), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // a descriptor fits
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil || dry {
		return err == nil, err
	}
	// Out of the way first: half a directory must not be found under its name.
	aside, err := os.MkdirTemp(c.Dir, oldPrefix)
	if err != nil {
		return false, err
	}
	if err := os.Rename(filepath.Join(c.Dir, dir), filepath.Join(aside, "d")); err != nil {
		return false, errors.Join(err, os.Remove(aside))
	}
	return true, removeAll(aside)
}

// leftovers removes what nobody finishes any more.
func (c *Caches) leftovers(dry bool) error {
	entries, err := os.ReadDir(c.Dir)
	if dry || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		rest, isNew := strings.CutPrefix(e.Name(), newPrefix)
		name, _, named := strings.Cut(rest, "-")
		fi, err := e.Info()
		old := err == nil && time.Since(fi.ModTime()) > leftoverAge
		switch {
		case isNew && named: // its maker holds the lock of the name
			_, err := c.remove(e.Name(), name, false)
			errs = append(errs, err)
		case (isNew || strings.HasPrefix(e.Name(), oldPrefix)) && old:
			errs = append(errs, removeAll(filepath.Join(c.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// removeAll is os.RemoveAll that an ordinary user's read-only directories do not stop.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(p, 0o700) //nolint:gosec // a directory of our own, on its way out
		}
		return nil
	})
	return os.RemoveAll(dir)
}
