package disposable

import (
	"fmt"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
)

// Lasting gives a file a name by which it is also found when stages are put into
// the root: the name that it has now may lead through links of the image's, which
// a stage has no place for, or has otherwise. What lies in a mount is not followed
// there: it is renewed by links that change. Mounted says that it does lie in one,
// and so stays by itself. A file that is not there keeps its name.
func Lasting(file string) (name string, mounted bool, err error) {
	if file, err = filepath.Abs(file); err != nil {
		return file, false, err
	}
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		return file, false, fmt.Errorf("list what is mounted: %w", err)
	}
	points := map[string]bool{}
	for _, m := range list {
		points[m.Mountpoint] = m.Mountpoint != "/"
	}
	name, mounted = lasting(file, points)
	return name, mounted, nil
}

func lasting(file string, points map[string]bool) (name string, mounted bool) {
	var rest string
	found := file
	for dir := file; dir != "/"; dir = filepath.Dir(dir) {
		// The outermost mount that the name leads into counts.
		if real, err := filepath.EvalSymlinks(dir); err == nil && points[real] {
			found, mounted = filepath.Join(real, rest), true
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
	if mounted {
		return found, true
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(file)); err == nil {
		return filepath.Join(dir, filepath.Base(file)), false
	}
	return file, false
}
