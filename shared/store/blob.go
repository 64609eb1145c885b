package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Has tells whether there is a blob of that digest and, where d has one, of that
// size. It does not read it.
func (s *Store) Has(d v1.Descriptor) bool {
	if checkDigest(d.Digest) != nil {
		return false
	}
	fi, err := os.Lstat(s.path(blobName(d.Digest)))
	return err == nil && fi.Mode().IsRegular() && (d.Size <= 0 || fi.Size() == d.Size)
}

// Size is how many bytes a blob has; fs.ErrNotExist where there is none.
func (s *Store) Size(d v1.Hash) (int64, error) {
	if err := checkDigest(d); err != nil {
		return 0, err
	}
	fi, err := os.Lstat(s.path(blobName(d)))
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// Open reads a blob. Its reader reports io.EOF only after size and digest were
// right; wrong ones are ErrIntegrity, the digest at the end. A blob that is not
// there is fs.ErrNotExist. A Size of 0 or less is not compared.
func (s *Store) Open(d v1.Descriptor) (io.ReadCloser, error) {
	f, _, err := s.open(d)
	if err != nil {
		return nil, err
	}
	return Verify(f, d)
}

// Verify compares what is read from r with a digest, as Open does. Closing the
// answer closes r.
func Verify(r io.ReadCloser, d v1.Descriptor) (io.ReadCloser, error) {
	h, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &verifier{r: r, hash: h, want: d.Digest}, nil
}

func (s *Store) open(d v1.Descriptor) (*os.File, fs.FileInfo, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, nil, err
	}
	f, fi, err := openRegular(s.path(blobName(d.Digest)))
	if errors.Is(err, errNotFile) || errors.Is(err, syscall.ELOOP) {
		return nil, nil, fmt.Errorf("blob %s in %s: %w: %w", d.Digest, s.dir, ErrIntegrity, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open blob: %w", err)
	}
	if d.Size > 0 && fi.Size() != d.Size {
		f.Close()
		return nil, nil, fmt.Errorf("blob %s in %s: %w: it has %d bytes, its description says %d", d.Digest, s.dir, ErrIntegrity, fi.Size(), d.Size)
	}
	return f, fi, nil
}

// verifier compares what is read with a digest.
type verifier struct {
	r    io.ReadCloser
	hash hash.Hash
	want v1.Hash
	err  error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Hex {
			err = fmt.Errorf("blob %s: %w: got %s", v.want, ErrIntegrity, got)
		}
	}
	v.err = err
	if n > 0 {
		return n, nil
	}
	return n, err
}

func (v *verifier) Close() error { return v.r.Close() }

// Read reads a document of at most limit bytes, which are right when it returns.
func (s *Store) Read(d v1.Descriptor, limit int64) ([]byte, error) {
	size, err := s.Size(d.Digest)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, allowed are %d", d.Digest, size, limit)
	}
	r, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// Check compares a blob with its digest. What was right before and has not been
// touched since (inode, size and time of change, which nobody can set) is not
// read again. A blob that is wrong is set aside, where the store can be written,
// so that it is fetched anew.
func (s *Store) Check(ctx context.Context, d v1.Descriptor) error { return s.check(ctx, d, false) }

// CheckAll is Check that reads the blob in any case.
func (s *Store) CheckAll(ctx context.Context, d v1.Descriptor) error { return s.check(ctx, d, true) }

func (s *Store) check(ctx context.Context, d v1.Descriptor, always bool) error {
	f, fi, err := s.open(d)
	if errors.Is(err, ErrIntegrity) {
		return errors.Join(err, s.setAside(d.Digest))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if note, err := s.Note(d.Digest, sealNote); !always && err == nil && string(note) == seal(fi) {
		return nil
	}
	h, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return err
	}
	if err := copyBlob(ctx, h, f); err != nil {
		return fmt.Errorf("read blob %s: %w", f.Name(), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.Digest.Hex {
		err := fmt.Errorf("blob %s in %s: %w: got %s", d.Digest, s.dir, ErrIntegrity, got)
		return errors.Join(err, s.setAside(d.Digest))
	}
	s.seal(f, d.Digest)
	return nil
}

// sealNote is the note that says what a blob's file was when it was right.
const sealNote = "seal"

// seal is what changes when anybody touches a file.
func seal(fi fs.FileInfo) string {
	ino, ctime := changed(fi)
	return strconv.FormatUint(ino, 10) + " " + strconv.FormatInt(ctime, 10) + " " + strconv.FormatInt(fi.Size(), 10)
}

// seal writes down that f was right. It need not: then it is read again.
func (s *Store) seal(f *os.File, d v1.Hash) {
	fi, err := f.Stat()
	if err != nil || s.readOnly {
		return
	}
	if note, err := s.Note(d, sealNote); err == nil && string(note) == seal(fi) {
		return
	}
	_ = s.PutNote(d, sealNote, []byte(seal(fi)))
}

// setAside moves a wrong blob, and all that was worked out about it, out of the way.
func (s *Store) setAside(d v1.Hash) error {
	if s.readOnly {
		return nil
	}
	if err := s.mkdirAll("bad"); err != nil {
		return err
	}
	to := filepath.Join("bad", d.Hex+"."+strconv.FormatInt(time.Now().UnixNano(), 36))
	err := s.rename(blobName(d), to)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody else was faster
	}
	return errors.Join(err, s.dropNotes(d), s.dropTrees(d))
}

// Ingest is content on its way into the store, whose digest is not known before
// its end. It is to be closed.
type Ingest struct {
	a    *aside
	hash hash.Hash
	n    int64
}

// New begins new content.
func (s *Store) New() (*Ingest, error) {
	h, err := v1.Hasher("sha256")
	if err != nil {
		return nil, err
	}
	a, err := s.aside("new")
	if err != nil {
		return nil, fmt.Errorf("write to store %s: %w", s.dir, err)
	}
	return &Ingest{a: a, hash: h}, nil
}

// Write implements io.Writer.
func (i *Ingest) Write(p []byte) (int, error) {
	n, err := i.a.Write(p)
	i.hash.Write(p[:n])
	i.n += int64(n)
	return n, err
}

// Commit puts the content into the store. Its digest and size are the answer's.
func (i *Ingest) Commit() (v1.Descriptor, error) {
	d := v1.Descriptor{Size: i.n, Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(i.hash.Sum(nil))}}
	if err := i.a.commit(blobName(d.Digest)); err != nil {
		return d, fmt.Errorf("put blob %s into store %s: %w", d.Digest, i.a.s.dir, err)
	}
	i.a.s.seal(i.a.f, d.Digest)
	return d, nil
}

// Close gives up what was not committed.
func (i *Ingest) Close() error { return i.a.close() }

// Put fetches a blob, unless it is there and right. open is asked for its bytes
// when they are needed; they are compared with d before anybody else can see
// them, and are ErrIntegrity when they are others. It tells whether the blob had
// to be fetched.
func (s *Store) Put(ctx context.Context, d v1.Descriptor, open func(context.Context) (io.ReadCloser, error)) (fetched bool, err error) {
	if err := checkDigest(d.Digest); err != nil {
		return false, err
	}
	there := func() bool { return s.Check(ctx, d) == nil }
	if there() {
		return false, nil
	}
	if s.readOnly {
		return false, ErrReadOnly
	}
	unlock := s.await(ctx, d.Digest, there)
	defer unlock()
	if there() {
		return false, nil
	}
	if err := s.fetch(ctx, d, open); err != nil {
		return false, fmt.Errorf("put blob %s into store %s: %w", d.Digest, s.dir, err)
	}
	return true, nil
}

func (s *Store) fetch(ctx context.Context, d v1.Descriptor, open func(context.Context) (io.ReadCloser, error)) (err error) {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	h, err := v1.Hasher(d.Digest.Algorithm)
	if err != nil {
		return err
	}
	a, err := s.aside(d.Digest.Hex)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	r, err := open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	n := &counter{}
	if err := copyBlob(ctx, io.MultiWriter(a, h, n), r); err != nil {
		return err
	}
	got := v1.Hash{Algorithm: d.Digest.Algorithm, Hex: hex.EncodeToString(h.Sum(nil))}
	if got != d.Digest || d.Size > 0 && n.n != d.Size {
		return fmt.Errorf("%w: got %s of %d bytes, want %d bytes", ErrIntegrity, got, n.n, d.Size)
	}
	if err := a.commit(blobName(d.Digest)); err != nil {
		return err
	}
	s.seal(a.f, d.Digest)
	return nil
}

// PutBytes puts a document into the store.
func (s *Store) PutBytes(ctx context.Context, b []byte) (v1.Descriptor, error) {
	d, _, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return v1.Descriptor{}, err
	}
	desc := v1.Descriptor{Digest: d, Size: int64(len(b))}
	_, err = s.Put(ctx, desc, func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
	return desc, err
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// copyBlob copies until ctx ends, in pieces that a progress is seen by.
func copyBlob(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
