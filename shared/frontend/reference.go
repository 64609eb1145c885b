package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// reference is the result of a graph that was carried out, to read from.
type reference struct {
	gateway *gateway
	files
}

var _ client.Reference = (*reference)(nil)

// Evaluate has nothing left to do.
func (r *reference) Evaluate(context.Context) error { return nil }

// ReadFile reads a file, or a range of it.
func (r *reference) ReadFile(_ context.Context, req client.ReadRequest) (_ []byte, err error) {
	defer recovered(&err)
	var offset, length int64
	if req.Range != nil {
		offset, length = int64(req.Range.Offset), int64(req.Range.Length)
	}
	data, err := r.read(req.Filename, offset, length)
	// The frontend takes an ignore file that it cannot read for one that is not
	// there, and would go on with everything in the context.
	if err != nil && !errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(req.Filename, ".dockerignore") {
		r.gateway.noteIgnored(err)
	}
	return data, err
}

// StatFile describes a file.
func (r *reference) StatFile(_ context.Context, req client.StatRequest) (_ *fstypes.Stat, err error) {
	defer recovered(&err)
	info, err := fs.Stat(r.FS, rooted(req.Path))
	if err != nil {
		return nil, err
	}
	return stat(info), nil
}

// ReadDir describes the files of a directory.
func (r *reference) ReadDir(_ context.Context, req client.ReadDirRequest) (_ []*fstypes.Stat, err error) {
	defer recovered(&err)
	return r.list(req.Path, req.IncludePattern)
}

// ToState is for frontends that build upon results; this one does not.
func (r *reference) ToState() (llb.State, error) {
	return llb.State{}, errors.New("state of a result: not offered to frontends")
}

// files reads from a file system as the frontend asks.
type files struct{ fs.FS }

// read gives length bytes from offset, or all that follow when length is 0.
func (f files) read(name string, offset, length int64) (_ []byte, err error) {
	file, err := f.Open(rooted(name))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.CopyN(io.Discard, file, offset); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var r io.Reader = file
	if length > 0 {
		r = io.LimitReader(file, length)
	}
	return io.ReadAll(r)
}

func (f files) list(dir, pattern string) ([]*fstypes.Stat, error) {
	entries, err := fs.ReadDir(f.FS, rooted(dir))
	if err != nil {
		return nil, err
	}
	var out []*fstypes.Stat
	for _, e := range entries {
		match, err := path.Match(pattern, e.Name())
		if err != nil {
			return nil, fmt.Errorf("list %s: pattern %q: %w", dir, pattern, err)
		}
		if !match && pattern != "" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		out = append(out, stat(info))
	}
	return out, nil
}

// rooted writes a path, absolute or not, the way io/fs wants it. Parents of
// the root are the root.
func rooted(name string) string {
	if name = path.Clean("/" + name)[1:]; name == "" {
		return "."
	}
	return name
}

func stat(info fs.FileInfo) *fstypes.Stat {
	return &fstypes.Stat{
		Path:    info.Name(),
		Mode:    uint32(info.Mode()),
		Size:    info.Size(),
		ModTime: info.ModTime().UnixNano(),
	}
}
