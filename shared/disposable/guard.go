package disposable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrTampered is a step that changed the builder's own files. They are as they
// were again, if the error does not say otherwise.
var ErrTampered = errors.New("the step changed the builder's own files")

// Guard keeps the builder's own files while steps run that could remove or
// change them: a step in place has the builder's rights, and nothing can be
// mounted over them.
type Guard struct {
	files  []*guarded
	hidden []*guarded
}

// inMemory is the size up to which contents are kept in memory. What is larger
// is the program, which the kernel keeps from being written to while it runs
// (ETXTBSY, open(2)), and which can be read on when it was removed.
const inMemory = 1 << 20

// guarded is a file that is to be there again.
type guarded struct {
	path    string
	file    *os.File
	content []byte // nil for a large file
	mode    fs.FileMode
	seen    identity
}

// identity is what moves with every change of a file.
type identity struct {
	ino, size  uint64
	sec        int64
	nsec       uint32
	mode       uint16
	uid, gid   uint32
	devMa, dev uint32
}

// Guard takes the files beside the builder's program, and those below its
// certificates, into its care. The files called hidden are kept from steps
// altogether; those that are not there, or on a volume, are left alone.
func (r *Root) Guard(hidden ...string) (*Guard, error) {
	g := &Guard{}
	places, err := r.mounts(r.top)
	if err != nil {
		return nil, err
	}
	add := func(list *[]*guarded, p string, asIs bool) error {
		name, ok := below(p, r.top)
		if !ok || places.Mounted(name) {
			return nil
		}
		f, err := guardFile(p)
		if errors.Is(err, fs.ErrNotExist) || f == nil && err == nil || !asIs && errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err == nil {
			*list = append(*list, f)
		}
		return err
	}
	for _, p := range hidden {
		// By its real place: links in the root may have lost their targets when it is to be restored.
		if dir, err := filepath.EvalSymlinks(filepath.Dir(p)); err == nil {
			p = filepath.Join(dir, filepath.Base(p))
		}
		if err := add(&g.hidden, p, true); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	err = filepath.WalkDir(r.home, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != r.home && !strings.HasPrefix(p+"/", filepath.Join(r.home, "ssl")+"/") {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || d.Name() == ".inplace" || g.hides(p) {
			return nil
		}
		return add(&g.files, p, false)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("guard the builder's own files: %w", err), g.Close())
	}
	return g, nil
}

func (g *Guard) hides(p string) bool {
	for _, f := range g.hidden {
		if f.path == p {
			return true
		}
	}
	return false
}

func guardFile(p string) (*guarded, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, f.Close())
	}
	g := &guarded{path: p, file: f, mode: fi.Mode()}
	if fi.Size() <= inMemory {
		if g.content, err = io.ReadAll(io.LimitReader(f, inMemory+1)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if g.content == nil {
			g.content = []byte{}
		}
	}
	g.seen, err = identify(p)
	return g, err
}

func identify(p string) (identity, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, p, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return identity{}, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	return identity{st.Ino, st.Size, st.Ctime.Sec, st.Ctime.Nsec, st.Mode, st.Uid, st.Gid, st.Dev_major, st.Dev_minor}, nil
}

// Before hides what is to be hidden from the step that begins.
func (g *Guard) Before() error {
	for _, f := range g.hidden {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("hide %s from a step: %w", f.path, err)
		}
	}
	return nil
}

// After puts everything back when the step and all that it started are gone.
// The error wraps ErrTampered when the step had changed something.
func (g *Guard) After() error {
	var errs []error
	for _, f := range g.hidden {
		if _, err := os.Lstat(f.path); err == nil {
			continue // it could not be hidden
		}
		errs = append(errs, f.restore())
	}
	var changed []string
	for _, f := range g.files {
		if now, err := identify(f.path); err == nil && now == f.seen {
			continue
		}
		changed = append(changed, f.path)
		errs = append(errs, f.restore())
	}
	if len(changed) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", ErrTampered, strings.Join(changed, ", ")))
	}
	return errors.Join(errs...)
}

// restore makes the file anew, aside first.
func (f *guarded) restore() error {
	if err := f.write(); err != nil {
		return fmt.Errorf("restore %s, without which this container can build no more: %w", f.path, err)
	}
	return nil
}

func (f *guarded) write() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	if fi, err := os.Lstat(f.path); err == nil && fi.IsDir() {
		if err := os.RemoveAll(f.path); err != nil {
			return err
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".restored-*")
	if err != nil {
		return err
	}
	if f.content != nil {
		_, err = tmp.Write(f.content)
	} else if _, err = f.file.Seek(0, io.SeekStart); err == nil {
		_, err = io.Copy(tmp, f.file)
	}
	err = errors.Join(err, tmp.Chmod(f.mode), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err == nil {
		f.seen, err = identify(f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// Close forgets the files.
func (g *Guard) Close() error {
	var errs []error
	for _, f := range append(g.files, g.hidden...) {
		errs = append(errs, f.file.Close())
	}
	return errors.Join(errs...)
}
