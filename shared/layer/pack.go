package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// PackOptions says how a table becomes a blob. The zero value makes OCI layers
// compressed by gzip at its usual level.
type PackOptions struct {
	WriteOptions
	Compression Compression
	// Level is that of the command line tools (gzip 1 to 9, zstd 1 to 22); 0 is
	// the usual one.
	Level int
	// Docker gives the layer Docker's media type.
	Docker bool
	// Created is for the blob's field of that name.
	Created time.Time
	// Sync has the blob on the disk before it has its name.
	Sync bool
}

// Pack writes a table as a compressed tar into a directory, where the blob's
// name is the hexadecimal part of its digest. Tar, diff ID, compression and
// digest are made at once, in memory that does not grow with the layer.
func Pack(ctx context.Context, t *Table, dir string, o PackOptions) (_ *Blob, err error) {
	mediaType, err := o.Compression.MediaType(o.Docker)
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	if err := o.Compression.checkLevel(o.Level); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	f, err := os.CreateTemp(dir, ".pack-*")
	if err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	p := &packer{out: sink{f: f, h: sha256.New()}}
	if err := p.run(ctx, t, o); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	b := &Blob{
		Digest: sum(p.out.h), Size: p.out.n, DiffID: p.diffID,
		MediaType: mediaType, Created: o.Created,
	}
	path := filepath.Join(dir, b.Digest.Hex)
	if err := publish(f, path, o.Sync); err != nil {
		return nil, fmt.Errorf("pack layer: %w", err)
	}
	b.Open = func() (io.ReadCloser, error) { return openBlob(path, b.Digest, b.Size) }
	return b, nil
}

type packer struct {
	out    sink
	diffID v1.Hash
}

func (p *packer) run(ctx context.Context, t *Table, o PackOptions) error {
	pctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.out.cancel = cancel
	g, gctx := errgroup.WithContext(pctx)
	r := newRelay(gctx, 2)
	g.Go(func() error { return r.close(Write(gctx, r, t, o.WriteOptions)) })
	g.Go(func() (err error) {
		p.diffID, err = r.taps[0].digest()
		return err
	})
	g.Go(func() error { return p.compress(r.taps[1], o) })
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

func (p *packer) compress(t *tap, o PackOptions) error {
	z, err := o.Compression.compressor(&p.out, o.Level)
	if err != nil {
		return err
	}
	err = t.each(z)
	// Always closed, since it has goroutines.
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	if p.out.err != nil {
		return p.out.err
	}
	return err
}

// sink hashes and writes. It never tells a compressor of an error, because
// pgzip's goroutines would not end then, but ends the work itself.
type sink struct {
	f      *os.File
	h      hash.Hash
	n      int64
	err    error
	cancel context.CancelCauseFunc
}

func (s *sink) Write(b []byte) (int, error) {
	if s.err == nil {
		s.h.Write(b)
		s.n += int64(len(b))
		if _, s.err = s.f.Write(b); s.err != nil {
			s.cancel(s.err)
		}
	}
	return len(b), nil
}

func publish(f *os.File, path string, sync bool) error {
	// CreateTemp's files are for their owner only; blobs are shared.
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return os.Rename(f.Name(), path)
}

// openBlob opens a blob whose reader compares what it read with the digest.
func openBlob(path string, want v1.Hash, size int64) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &verifier{f: f, h: sha256.New(), want: want, left: size}, nil
}

type verifier struct {
	f    *os.File
	h    hash.Hash
	want v1.Hash
	left int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.h.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 || err == io.EOF && (v.left != 0 || sum(v.h) != v.want) {
		return n, fmt.Errorf("read layer %s from %s: %w", v.want, v.f.Name(), ErrIntegrity)
	}
	return n, err
}

func (v *verifier) Close() error { return v.f.Close() }
