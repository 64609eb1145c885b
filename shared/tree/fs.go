package tree

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/strake-build/strake/shared/layer"
)

// FS offers the view as an fs.FS; symlinks are followed inside it.
func (v *View) FS() fs.FS { return viewFS{v} }

type viewFS struct{ v *View }

func (f viewFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	file, err := f.v.Stat(name)
	if err != nil {
		return nil, err
	}
	o := &openFile{info: info{name, file}, view: f.v}
	if file.Kind != layer.Regular || file.Content == nil {
		o.r = io.NopCloser(bytes.NewReader(nil))
		return o, nil
	}
	o.r, err = file.Content.Open()
	return o, err
}

// openFile is a file or directory open for reading.
type openFile struct {
	info
	view  *View
	r     io.ReadCloser
	names []fs.DirEntry
	read  bool
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o *openFile) Read(p []byte) (int, error) { return o.r.Read(p) }
func (o *openFile) Close() error               { return o.r.Close() }

// ReadDir implements fs.ReadDirFile.
func (o *openFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !o.read {
		for _, c := range o.view.ReadDir(o.file) {
			o.names = append(o.names, fs.FileInfoToDirEntry(info{c.Path, c}))
		}
		o.read = true
	}
	out := o.names
	if n > 0 {
		if len(out) == 0 {
			return nil, io.EOF
		}
		out = out[:min(n, len(out))]
	}
	o.names = o.names[len(out):]
	return out, nil
}

type info struct {
	path string
	file *File
}

func (i info) Name() string {
	for j := len(i.path) - 1; j >= 0; j-- {
		if i.path[j] == '/' {
			return i.path[j+1:]
		}
	}
	return i.path
}
func (i info) Size() int64        { return i.file.Size }
func (i info) ModTime() time.Time { return i.file.ModTime }
func (i info) IsDir() bool        { return i.file.IsDir() }
func (i info) Sys() any           { return i.file.Inode }

// Mode implements fs.FileInfo.
func (i info) Mode() fs.FileMode {
	m := fs.FileMode(i.file.Inode.Mode & 0o777)
	for bit, name := range map[uint32]fs.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if i.file.Inode.Mode&bit != 0 {
			m |= name
		}
	}
	return m | map[layer.Kind]fs.FileMode{
		layer.Dir: fs.ModeDir, layer.Symlink: fs.ModeSymlink, layer.Fifo: fs.ModeNamedPipe,
		layer.Char: fs.ModeDevice | fs.ModeCharDevice, layer.Block: fs.ModeDevice,
	}[i.file.Kind]
}
