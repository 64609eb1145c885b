package loopback

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
)

// upload is a blob on its way in: it is hashed as it comes, so that the last request costs a rename.
type upload struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
}

func (s *Store) begin() (*upload, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "uploads"), "blob-")
	if err != nil {
		return nil, err
	}
	return &upload{store: s, file: f, hash: sha256.New()}, nil
}

// Write implements io.Writer.
func (u *upload) Write(p []byte) (int, error) {
	n, err := u.file.Write(p)
	u.hash.Write(p[:n])
	u.size += int64(n)
	return n, err
}

func (u *upload) cancel() error {
	return errors.Join(u.file.Close(), os.Remove(u.file.Name()))
}

func (u *upload) commit(digest string) error {
	path, err := u.store.blobPath(digest)
	if err != nil {
		return errors.Join(err, u.cancel())
	}
	if got := "sha256:" + hex.EncodeToString(u.hash.Sum(nil)); got != digest {
		return errors.Join(fmt.Errorf("content has digest %s, not %s: %w", got, digest, errInvalid), u.cancel())
	}
	return errors.Join(u.file.Close(), os.Rename(u.file.Name(), path))
}
