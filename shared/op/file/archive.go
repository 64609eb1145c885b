package file

import (
	"archive/tar"
	"errors"
	"io"

	"github.com/strake-build/strake/shared/layer"
)

// archive is a tar, decompressed while it is read, after its first header.
type archive struct {
	*tar.Reader
	first   *tar.Header
	closers []io.Closer
}

// openArchive tells an archive by its content, whatever its name: a tar, plain
// or compressed. It returns nil for anything else, even a broken or empty one.
func openArchive(c layer.Content) (*archive, error) {
	if c == nil {
		return nil, nil
	}
	f, err := c.Open()
	if err != nil {
		return nil, err
	}
	a := &archive{closers: []io.Closer{f}}
	r, err := layer.DecompressArchive(f)
	if err == nil {
		a.closers = append(a.closers, r)
		a.Reader = tar.NewReader(r)
		a.first, err = a.Next()
	}
	if err == nil {
		return a, nil
	}
	_ = a.Close()
	if errors.Is(err, layer.ErrWindow) {
		return nil, err // it may well be an archive, and must not pass for a plain file
	}
	return nil, nil
}

func (a *archive) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i].Close())
	}
	return errors.Join(errs...)
}
