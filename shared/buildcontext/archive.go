package buildcontext

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strake-build/strake/shared/layer"
	"github.com/strake-build/strake/shared/op/source"
)

// archive is a context in a tar, which may be compressed by gzip, zstd, xz or
// bzip2; what it is is known by its content.
type archive struct {
	name     string // without secrets
	open     func(ctx context.Context, m Means) (io.ReadCloser, error)
	checksum digest.Digest
	limits   Limits
	// again tells that it can be read more than once.
	again bool
	// orDockerfile takes what is a text for a Dockerfile, as docker build does.
	orDockerfile bool
}

func parseChecksum(s string) (digest.Digest, error) {
	if s == "" {
		return "", nil
	}
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("checksum %q: %w; want sha256: and 64 hexadecimal digits", s, err)
	}
	return d, nil
}

// fromTar is tar://FILE and tar://stdin.
func (a *archive) fromTar(path string, stdin io.Reader) error {
	switch path {
	case "":
		return errors.New("want tar://FILE or tar://stdin")
	case "stdin", "-":
		a.again = false
		a.name = "standard input"
		a.open = func(context.Context, Means) (io.ReadCloser, error) {
			if stdin == nil {
				return nil, errors.New("read the context: there is no standard input")
			}
			return io.NopCloser(stdin), nil
		}
		return nil
	}
	a.open = func(context.Context, Means) (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("context tar://%s: %w", path, err)
		}
		return f, nil
	}
	return nil
}

// tries is how often an archive is fetched from the beginning.
const tries = 3

// Fetch implements Source.
func (a *archive) Fetch(ctx context.Context, m Means) (*Context, error) {
	for n := 1; ; n++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c, err := a.fetch(ctx, m)
		if err == nil {
			return c, nil
		}
		if !a.again || n == tries || !source.MayPass(err) || errors.Is(err, source.ErrUnavailable) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Duration(n) * time.Second / 2):
		}
	}
}

func (a *archive) fetch(ctx context.Context, m Means) (*Context, error) {
	in, err := a.open(ctx, m)
	if err != nil {
		return nil, err
	}
	spool, err := newSpool(m.Dir)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	algorithm := digest.SHA256
	if a.checksum != "" {
		algorithm = a.checksum.Algorithm()
	}
	got := &arrived{r: in, sum: algorithm.Hash(), whole: a.checksum != "" || hasSize(in)}
	t, err := a.read(ctx, got, spool)
	if err == nil {
		err = got.rest()
	}
	if got.err != nil {
		// What is wrong with the bytes is no wonder then.
		err = got.err
	}
	if err == nil {
		err = a.verify(digest.NewDigest(algorithm, got.sum))
	}
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	d := digest.NewDigest(algorithm, got.sum)
	return &Context{
		Notices: got.notices,
		Table:   t, Origin: fmt.Sprintf("%s (%s)", a.name, d), URI: a.name, Digest: map[string]string{d.Algorithm().String(): d.Encoded()},
	}, nil
}

func (a *archive) verify(got digest.Digest) error {
	if a.checksum == "" || a.checksum == got {
		return nil
	}
	return &source.ChecksumError{Name: a.name, Want: a.checksum.String(), Got: got.String()}
}

// newSpool makes a file for the contents of the archive. It has no name and goes
// away with its last reader.
func newSpool(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "context-")
	if err != nil {
		return nil, fmt.Errorf("make a file for the context: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unname the file for the context: %w", err), f.Close())
	}
	return f, nil
}

// read unpacks what arrives.
func (a *archive) read(ctx context.Context, in *arrived, spool *os.File) (*layer.Table, error) {
	z, err := layer.DecompressArchive(in)
	if err != nil {
		return nil, &ArchiveError{a.name, err}
	}
	defer z.Close()
	plain := bufio.NewReaderSize(z, 64<<10)
	head, err := plain.Peek(blockSize)
	if err != nil && err != io.EOF {
		return nil, &ArchiveError{a.name, fmt.Errorf("decompress: %w", err)}
	}
	if len(head) > 0 && !isTar(head) {
		return a.dockerfile(head, plain)
	}
	return a.unpack(ctx, &meter{r: plain, in: in, limit: a.limits.withDefaults()}, spool)
}

func (a *archive) unpack(ctx context.Context, m *meter, spool *os.File) (*layer.Table, error) {
	t, _, err := layer.Unpack(ctx, m, "", layer.UnpackOptions{Archive: true, Spool: spool, Limits: m.limit.Limits})
	if _, ok := errors.AsType[*layer.LimitError](err); ok {
		err = fmt.Errorf("%w; if it is to be trusted, raise that limit", err)
	}
	if err == nil {
		err = m.ended()
	}
	if err == errCutOff && m.in.whole {
		m.in.notices, err = append(m.in.notices, a.name+": the archive has no end mark; all that was sent is there, but whoever wrote it did not close it"), nil
	}
	if err == nil {
		return t, nil
	}
	_, limit := errors.AsType[*layer.LimitError](err)
	if limit || m.err == nil || m.err == io.EOF {
		return nil, &ArchiveError{a.name, err}
	}
	return nil, &ArchiveError{a.name, fmt.Errorf("decompress: %w", m.err)}
}

// isTar tells whether the block is a header, by its checksum.
func isTar(block []byte) bool {
	_, err := tar.NewReader(bytes.NewReader(block)).Next()
	return !errors.Is(err, tar.ErrHeader) && (err != io.ErrUnexpectedEOF || len(block) == blockSize)
}

// maxDockerfile is how long a Dockerfile in the place of a context may be.
const maxDockerfile = 1 << 20

// dockerfile makes a context of a text, which has nothing in it but that.
func (a *archive) dockerfile(head []byte, r io.Reader) (*layer.Table, error) {
	if !a.orDockerfile || !strings.HasPrefix(http.DetectContentType(head), "text/plain") {
		return nil, &ArchiveError{a.name, fmt.Errorf("no tar archive, plain or compressed by gzip, zstd, xz or bzip2: it begins with %.40q", head)}
	}
	text, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err != nil {
		return nil, &ArchiveError{a.name, err}
	}
	if len(text) > maxDockerfile {
		return nil, &ArchiveError{a.name, fmt.Errorf("neither an archive nor, with more than %d bytes, a Dockerfile", maxDockerfile)}
	}
	return oneFile(text), nil
}

// oneFile is a context that holds a Dockerfile.
func oneFile(text []byte) *layer.Table {
	t := layer.NewTable()
	t.Root.Set(&layer.Node{Name: "Dockerfile", Inode: &layer.Inode{
		Kind: layer.Regular, Mode: 0o644, ModTime: time.Unix(0, 0), Size: int64(len(text)), Content: layer.Bytes(text),
	}})
	return t.Seal()
}

// arrived reads what comes, and hashes it.
type arrived struct {
	r   io.Reader
	sum hash.Hash
	n   int64
	err error // of reading, but for io.EOF
	// whole tells that an end before all came would be an error.
	whole   bool
	notices []string
}

// hasSize tells whether what is read says how long it is.
func hasSize(in io.Reader) bool {
	switch in := in.(type) {
	case *source.Stream:
		return in.Size() >= 0
	case *os.File:
		info, err := in.Stat()
		return err == nil && info.Mode().IsRegular()
	}
	return false
}

func (a *arrived) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.sum.Write(p[:n])
	a.n += int64(n)
	if err != nil && err != io.EOF {
		a.err = err
	}
	return n, err
}

// rest reads what comes after the archive: the end has the last word on whether
// all before it was right.
func (a *arrived) rest() error {
	_, err := io.Copy(io.Discard, a)
	return err
}
