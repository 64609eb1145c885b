package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// makePoint makes name, a directory or an empty file, with the directories on
// the way, in whatever is mounted there by now. No symlink is followed. What is
// there already stays as it is.
func makePoint(root int, name string, dir bool) error {
	at, err := openIn(root, "/", unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		next, err := stepInto(at, part)
		if errors.Is(err, unix.ENOENT) {
			if err = makeOne(at, part, dir || i < len(parts)-1); err == nil {
				next, err = stepInto(at, part)
			}
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		unix.Close(at)
		at = next
	}
	return nil
}

// makeOne makes a directory or an empty file, unless another step that shares
// the directory has just done so.
func makeOne(parent int, name string, dir bool) error {
	mode := uint32(0o644)
	var err error
	if dir {
		mode = 0o755
		err = unix.Mkdirat(parent, name, 0o700)
	} else {
		err = unix.Mknodat(parent, name, unix.S_IFREG|0o600, 0)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	// By descriptor: another step that shares the directory may put a symlink
	// there, which chmod by name would follow out of the root.
	fd, err := stepInto(parent, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod(fdPath(fd), mode) // whatever the umask
}
