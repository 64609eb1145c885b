package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/strake-build/strake/shared/layer"
)

// DirHash is the hash of all regular files that in-toto calls dirHash: the sha256
// of what "sha256sum" says of them, in the order of their names. Other kinds of
// files, owners, modes and times do not count.
func (v *View) DirHash(ctx context.Context) (string, error) {
	type named struct{ name, sum string }
	var all []named
	err := v.Walk(v.Root(), func(f *File) error {
		if err := context.Cause(ctx); err != nil || f.Kind != layer.Regular {
			return err
		}
		sum, err := contentSum(f.Inode)
		if err != nil {
			return fmt.Errorf("read /%s: %w", f.Path, err)
		}
		all = append(all, named{f.Path, sum})
		return nil
	})
	if err != nil {
		return "", err
	}
	// Walk goes by names of one directory, the hash by whole paths.
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) })
	h := sha256.New()
	for _, f := range all {
		fmt.Fprintf(h, "%s  %s\n", f.sum, f.name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func contentSum(i *layer.Inode) (string, error) {
	h := sha256.New()
	if i.Content != nil {
		r, err := i.Content.Open()
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
